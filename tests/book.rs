//! The book in docs/ and the pages beside the README hold together: every page is in the summary once, and every link leads to a
//! file, and to a heading, that is there.
#![allow(missing_docs, clippy::expect_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// What links can lead from and to in one page.
#[derive(Default)]
struct Page {
    /// The anchors of its headings, as mdBook and GitHub make them.
    anchors: BTreeSet<String>,
    links: Vec<String>,
}

impl Page {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).expect("a page");
        let mut page = Self::default();
        let mut heading: Option<String> = None;
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let anchor = anchor(&heading.take().unwrap_or_default());
                    page.anchors.insert(anchor);
                }
                Event::Text(words) | Event::Code(words) => {
                    if let Some(heading) = &mut heading {
                        *heading += &words;
                    }
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.to_string());
                }
                _ => {}
            }
        }
        page
    }
}

fn anchor(heading: &str) -> String {
    let kept = heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .collect::<String>();
    kept.replace(' ', "-")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn markdown_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    files.sort();
    files
}

#[test]
fn every_page_of_the_book_is_in_its_summary_once() {
    let docs = root().join("docs");
    let summary = Page::read(&docs.join("SUMMARY.md")).links;
    let listed: BTreeSet<_> = summary.iter().map(|link| docs.join(link)).collect();
    assert_eq!(listed.len(), summary.len(), "a page is listed twice: {summary:?}");
    let pages: BTreeSet<_> =
        markdown_in(&docs).into_iter().filter(|page| !page.ends_with("SUMMARY.md")).collect();
    assert_eq!(listed, pages);
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let pages: BTreeMap<PathBuf, Page> = [root(), root().join("docs")]
        .iter()
        .flat_map(|folder| markdown_in(folder))
        .map(|file| (file.canonicalize().expect("it is there"), Page::read(&file)))
        .collect();
    let mut broken = Vec::new();
    for (from, page) in &pages {
        for link in page.links.iter().filter(|link| !link.contains("://")) {
            let (file, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { from.clone() } else { from.with_file_name("").join(file) };
            let found = target.canonicalize().ok();
            let leads = found.is_some_and(|target| match (anchor, pages.get(&target)) {
                (None, _) => true,
                (Some(anchor), Some(page)) => page.anchors.contains(anchor),
                (Some(_), None) => false,
            });
            if !leads {
                broken.push(format!("{}: {link}", from.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(pages.values().map(|page| page.links.len()).sum::<usize>() > 20, "links are found at all");
}

#[test]
fn an_anchor_is_made_as_mdbook_makes_it() {
    assert_eq!(anchor("What is not, `tenurectl`: 3 cases"), "what-is-not-tenurectl-3-cases");
}
