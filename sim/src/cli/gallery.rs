//! `tenure shrink --all-planted --gallery FOLDER`: a page for each planted bug, with the smallest failure that it leaves.

use std::cell::RefCell;
use std::fmt::Write;
use std::path::PathBuf;

use super::pictures;
use super::shrink::unwritable;
use crate::planted::Planted;
use crate::scenario::BadInput;
use crate::shrink::Shrunk;

/// A folder that is being filled.
pub(super) struct Gallery {
    folder: PathBuf,
    /// The rows of its index.
    rows: RefCell<String>,
}

impl Gallery {
    pub(super) fn open(folder: PathBuf) -> Result<Self, BadInput> {
        std::fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, &error))?;
        Ok(Self { folder, rows: RefCell::default() })
    }

    /// Writes the capsule and the page of a bug.
    pub(super) fn add(&self, planted: &Planted, shrunk: &Shrunk) -> Result<(), BadInput> {
        let capsule = self.folder.join(format!("{}.json", planted.name));
        shrunk.capsule.write_as(&capsule).map_err(|error| unwritable(&capsule, &error))?;
        pictures::beside(&capsule)?;
        let (name, invariant, about) = (planted.name, planted.invariant, escaped(planted.about));
        let row = format!(
            "<tr><td><a href=\"{name}.html\">{name}</a></td><td>{invariant}</td><td>{about}</td></tr>"
        );
        // Writing to a string cannot fail.
        let _ = writeln!(self.rows.borrow_mut(), "{row}");
        Ok(())
    }

    /// Writes the index.
    pub(super) fn close(self) -> Result<(), BadInput> {
        let file = self.folder.join("index.html");
        let rows = self.rows.into_inner();
        let page = format!(
            "<!doctype html>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>Planted bugs</title>\n<style>:root {{ color-scheme: light dark; font-family: sans-serif }} \
             td, th {{ text-align: left; vertical-align: top; padding: .2em .8em .2em 0 }}</style>\n\
             <h1>Planted bugs</h1>\n<p>The smallest failure of each, as a page.</p>\n<table>\n\
             <tr><th>bug</th><th>invariant that breaks</th><th>what is wrong</th></tr>\n{rows}</table>\n"
        );
        std::fs::write(&file, page).map_err(|error| unwritable(&file, &error))
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::plan::Plan;
    use crate::planted;
    use crate::run::{Capsule, execute, judge};
    use crate::scenario;
    use crate::shrink::{Options, shrink};

    #[test]
    fn a_gallery_has_a_page_and_a_capsule_for_each_bug_and_an_index_that_leads_there() {
        let planted = planted::find("reader-beside-writer").expect("planted");
        let scenario = scenario::find(planted.scenario).expect("built in");
        let plan = Arc::new(Plan::draw(&scenario, 0));
        let run = execute(&plan, Some(planted)).expect("runs");
        let verdict = judge(&plan, &run, &scenario.invariants).verdict;
        let capsule = Capsule::new(&scenario, Some(planted.name), &plan, &verdict, &run.history);
        let options = Options { limit: Duration::from_secs(20), jobs: 1 };
        let shrunk = shrink(&capsule, Some(planted), options, |_| {}).expect("it fails");

        let folder = tempfile::tempdir().expect("a folder");
        let gallery = Gallery::open(folder.path().join("new/gallery")).expect("a folder");
        gallery.add(planted, &shrunk).expect("written");
        gallery.close().expect("written");
        let read = |name: &str| {
            std::fs::read_to_string(folder.path().join("new/gallery").join(name)).expect("written")
        };
        assert!(read("index.html").contains("<a href=\"reader-beside-writer.html\">"));
        assert!(read("reader-beside-writer.html").contains("mutual-exclusion"));
        assert!(read("reader-beside-writer.json").contains("reader-beside-writer"));
    }
}
