//! The runbook is followed to the letter: each chapter's commands as they are written, on servers to which that has happened.

mod after;
mod book;
mod bucket;
mod cluster;
mod deleted;
mod host;
mod identity;
mod minutes;
mod shop;
mod tenant;

use std::fs;
use std::path::Path;

#[test]
fn every_chapter_is_followed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/runbook");
    let sources = fs::read_dir(folder).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let sources: String = sources.collect();
    let titles: Vec<&str> = book::titles().collect();
    assert!(titles.len() > 5, "{titles:?}");
    for title in titles {
        assert!(sources.contains(&format!("Chapter::open({title:?})")), "no test follows '{title}'");
    }
}
