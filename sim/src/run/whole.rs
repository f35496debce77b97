//! Files of JSON that are there whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;

/// Writes a file into a folder that is there. Once this returns it is on disk, with its name; if it fails nothing of it is
/// left.
pub(crate) fn write_whole(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = folder.join(format!(".{name}.{}", std::process::id()));
    let written = write_to(&unfinished, value).and_then(|()| std::fs::rename(&unfinished, path));
    if let Err(error) = written {
        // What is left of it, if anything, is of no use to anyone.
        let _ = std::fs::remove_file(&unfinished);
        return Err(error);
    }
    sync_folder(folder)
}

/// What is wrong with a capsule's text, in words without the place.
pub(crate) fn cut_off_or(error: &serde_json::Error) -> String {
    let words = error.to_string();
    let words = words.rsplit_once(" at line ").map_or(words.as_str(), |(words, _)| words);
    match error.classify() {
        serde_json::error::Category::Eof => "the capsule is cut off here".to_owned(),
        _ => format!("not a capsule: {words}"),
    }
}

/// Writes it into a file, until it is on disk.
fn write_to(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    serde_json::to_writer_pretty(&mut out, value)?;
    out.write_all(b"\n")?;
    // Dropping the writer would flush it too, and swallow the error.
    out.into_inner()?.sync_all()
}

/// A file's new name is on disk only when its folder is.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder cannot be opened.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_an_error_even_when_only_the_last_flush_meets_it() {
        let error = write_to(Path::new("/dev/full"), &"some text").expect_err("it is full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
