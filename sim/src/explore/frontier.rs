//! A search that ended early, written down so that it can be continued: the states from which it has to go on, each by the steps that
//! lead there, and the states that were visited.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::bounds::Space;
use super::search::Reduction;
use super::world::Choice;
use crate::scenario::BadInput;

/// The form of these files that this release writes and reads.
const FORM: u32 = 1;

/// A search that is to be continued.
#[derive(Clone, Debug, PartialEq)]
pub struct Frontier {
    /// What it is a search of, and how far it is.
    pub head: Head,
    /// The states that were visited, hashed.
    pub visited: Vec<u128>,
}

/// All of it but the visited states.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The form, so that another release can tell.
    pub frontier_form: u32,
    /// The space.
    pub space: Space,
    /// The planted bug, if one is planted.
    pub planted: Option<String>,
    /// What is left out.
    pub reduction: Reduction,
    /// As in [`Outcome`](super::Outcome), up to here.
    pub executions: u64,
    /// As in [`Outcome`](super::Outcome), up to here.
    pub steps: u64,
    /// As in [`Outcome`](super::Outcome), up to here.
    pub states: u64,
    /// As in [`Outcome`](super::Outcome), up to here.
    pub longest: u32,
    /// As in [`Outcome`](super::Outcome), up to here.
    pub done: f64,
    /// The states in which runs ended, hashed.
    pub ends: Vec<Hex>,
    /// From where to go on.
    pub open: Vec<Open>,
    /// How many visited states follow.
    pub visited: u64,
}

/// A state whose steps were not tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// The steps that lead there.
    pub path: Vec<Choice>,
    /// The state, hashed: another build of the library may lead elsewhere.
    pub state: Hex,
    /// Its part of the whole.
    pub weight: f64,
}

/// A hash, written as hexadecimal digits: JSON's numbers are too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Hex(pub u128);

impl From<Hex> for String {
    fn from(Hex(hash): Hex) -> Self {
        format!("{hash:032x}")
    }
}

impl TryFrom<String> for Hex {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(Self)
    }
}

impl Frontier {
    /// Puts it together.
    pub(super) fn new(space: &Space, planted: Option<&str>, reduction: Reduction) -> Self {
        let head = Head {
            frontier_form: FORM,
            space: space.clone(),
            planted: planted.map(str::to_owned),
            reduction,
            executions: 0,
            steps: 0,
            states: 0,
            longest: 0,
            done: 0.0,
            ends: Vec::new(),
            open: Vec::new(),
            visited: 0,
        };
        Self { head, visited: Vec::new() }
    }

    /// Writes it into a folder, which is made if need be; there whole or not at all. Gives the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, folder: &Path) -> std::io::Result<PathBuf> {
        std::fs::create_dir_all(folder)?;
        let planted = self.head.planted.as_ref().map_or_else(String::new, |name| format!("-{name}"));
        let path = folder.join(format!("explore-{}{planted}.frontier", self.head.space.name));
        let file = tempfile::NamedTempFile::new_in(folder)?;
        let mut out = std::io::BufWriter::new(file);
        serde_json::to_writer(&mut out, &self.head)?;
        out.write_all(b"\n")?;
        for hash in &self.visited {
            out.write_all(&hash.to_le_bytes())?;
        }
        let file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(path)
    }

    /// Reads one.
    ///
    /// # Errors
    /// One line if it cannot be read, is something else, or of a form that this release does not know.
    pub fn read(path: &Path) -> Result<Self, BadInput> {
        let shown = path.display();
        let unread = |error: std::io::Error| BadInput(format!("{shown}: cannot be read: {error}"));
        let mut file = BufReader::new(std::fs::File::open(path).map_err(unread)?);
        let mut line = Vec::new();
        file.read_until(b'\n', &mut line).map_err(unread)?;
        let head: Head = serde_json::from_slice(&line).map_err(|error| {
            BadInput(format!("{shown}: not a search that ended early (explore-NAME.frontier): {error}"))
        })?;
        if head.frontier_form != FORM {
            return Err(BadInput(format!(
                "{shown}: a search of form {}; this release reads form {FORM}",
                head.frontier_form
            )));
        }
        let mut visited = Vec::new();
        let mut hash = [0; 16];
        for _ in 0..head.visited {
            file.read_exact(&mut hash)
                .map_err(|_| BadInput(format!("{shown}: its end is missing: write it anew")))?;
            visited.push(u128::from_le_bytes(hash));
        }
        Ok(Self { head, visited })
    }
}
