//! What a person or another program reads of runs: summaries, timelines, JSON and JUnit.

pub mod command;
pub mod github;
pub mod json;
pub mod junit;
pub mod kinds;
pub mod page;
pub mod planted_table;
mod recipes;
mod show;
pub mod stands_on;
pub mod story;
pub mod style;
pub mod summary;
pub mod timeline;
pub mod trace;
