#![no_std]
//! Microkernels.
