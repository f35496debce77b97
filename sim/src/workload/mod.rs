//! What clients do: their programs, and how these are carried out with the library.

pub mod program;
