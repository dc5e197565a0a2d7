//! Restores that were cut off: the target is as it was, or wholly restored, or the journal in it says how to go on.

use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use serde_json::Value;

use super::ground::{DB, Ground, LIMIT};
use super::operations::succeeded;
use crate::contents::Contents;

/// The database that restores lead to.
pub const TARGET: &str = "restored";

/// Returns what says where to.
pub fn destination(ground: &Ground) -> Vec<String> {
    let map = format!("{DB}={TARGET}");
    ["--to", ground.target().uri(), "--ns", DB, "--map", &map, "--confirm", "rs0"].map(str::to_owned).to_vec()
}

/// Returns what a restore of these contents makes of the target.
pub fn restored(contents: &Contents) -> Contents {
    contents.renamed(|_, name| Some((TARGET.to_owned(), name.to_owned())))
}

/// Returns the number of the storage operation by which a restore reads what it loads in the middle: most of that is of one collection.
pub async fn middle_read(ground: &Ground, arguments: &[String]) -> usize {
    ground.start("none", 0, arguments).wait().exits(0);
    ground.target().client().await.database(TARGET).drop().await.unwrap();
    let operations = ground.operations();
    let reads: Vec<usize> =
        (1..).zip(&operations).filter(|(_, line)| line.contains("/packs/")).map(|(at, _)| at).collect();
    assert!(reads.len() > 8, "collections have several segments: {operations:#?}");
    reads[reads.len() / 2]
}

/// Begins a restore and kills it where it has loaded some segments of a collection, and not all; returns what goes on with it.
pub async fn begun(ground: &Ground, arguments: &[String], at: usize) -> Vec<String> {
    let journals = ground.target().client().await.database("regrow_restore");
    let mut running = ground.start(&format!("hang@{at}"), 0, arguments);
    assert!(ground.waits_where_it_hangs(&mut running), "it ended: {}", running.stderr());
    let unfinished =
        unfinished(ground).unwrap_or_else(|| panic!("it has not begun: {at} of {:#?}", ground.operations()));
    let lines = journals.collection::<Document>(&unfinished);
    let begun = Instant::now();
    while lines.count_documents(doc! { "event.segment": { "$exists": true } }).await.unwrap() == 0 {
        assert!(begun.elapsed() < LIMIT, "it loads nothing: {}", running.stderr());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    running.kill();
    running.wait();
    ["restore", "--resume", &unfinished, "--to", ground.target().uri(), "--confirm", "rs0"].map(str::to_owned).to_vec()
}

/// Returns the id of the restore that was cut off, if there is one.
fn unfinished(ground: &Ground) -> Option<String> {
    let arguments = ["restore", "--unfinished", "--json", "--to", ground.target().uri()];
    let listed: Value = ground.workspace.run(arguments).exits(0).json();
    listed["restores"].as_array().unwrap().first().map(|known| known["restore"].as_str().unwrap().to_owned())
}

/// Finishes a restore that was cut off, or restores anew where the target is as it was, and compares with what was backed up.
pub async fn again(ground: &Ground, arguments: &[&str], exit: i32, replaces: bool) -> Result<(), String> {
    if let Some(unfinished) = unfinished(ground) {
        let resume = ["restore", "--resume", &unfinished, "--to", ground.target().uri(), "--confirm", "rs0"];
        succeeded(&ground.workspace.run(resume))?;
    } else if is_as_it_was(ground, replaces).await {
        if exit == 0 {
            return Err("it says that it is done, and the target is as it was".into());
        }
        succeeded(&ground.workspace.run(arguments))?;
    }
    let found = Contents::of_database(&ground.target().client().await, TARGET).await;
    let content = if arguments.contains(&ground.full.as_str()) { &ground.full_content } else { &ground.content };
    if found == restored(content) { Ok(()) } else { Err(format!("it restored something else: {:?}", found.names())) }
}

/// Whether the target holds no more than what it was prepared with.
pub async fn is_as_it_was(ground: &Ground, replaces: bool) -> bool {
    let found = Contents::of_database(&ground.target().client().await, TARGET).await;
    if replaces { found.names() == [format!("{TARGET}.orders")] } else { found.names().is_empty() }
}
