//! What clients do: their programs, and how these are carried out with the library.

pub(crate) mod actor;
pub(crate) mod beliefs;
mod client;
pub(crate) mod decorate;
mod hold;
mod lane;
mod library;
mod observer;
pub(crate) mod operator;
pub mod plain;
pub mod primitive;
pub mod program;
pub mod recipes;
mod resource;
mod sessions;
mod shared;
mod stage;

pub use client::{live, program_of};
pub(crate) use resource::Highest;
pub use resource::SimulatedResource;
pub use shared::Shared;
pub use stage::{Process, Resource, Stage};
