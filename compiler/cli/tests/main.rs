//! The command and what it does to whole models: one binary, so that all is linked once.

mod biases;
mod calibrated;
mod cli;
mod cli_bench;
mod compiled;
mod documents;
mod exit_codes;
mod explain;
mod features;
mod feeds;
mod memory;
mod norms;
mod opt;
mod readme;
mod recurrent;
mod rotation;
mod shared;
mod ternarize;
mod trace;
mod training;
mod version;

mod command;
#[path = "../../../tests/support/numbers.rs"]
mod numbers;
#[path = "../../../tests/support/outside.rs"]
mod outside;
