//! Files that Trine reads and writes: [ONNX](import) and what its models mean, arrays in [npz](npz), and files that appear
//! complete [or not at all](disk).

pub mod disk;
pub mod import;
pub mod npz;
