//! What a person or another program reads of runs: summaries, timelines, JSON and JUnit.

pub mod command;
pub mod json;
pub mod junit;
mod show;
pub mod style;
pub mod summary;
pub mod timeline;
