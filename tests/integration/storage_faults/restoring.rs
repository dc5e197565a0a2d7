//! Restores that were cut off: the target is as it was, or wholly restored, or the journal in it says how to go on.

use serde_json::Value;

use super::ground::{DB, Ground};
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

/// Finishes a restore that was cut off, or restores anew where the target is as it was, and compares with what was backed up.
pub async fn again(ground: &Ground, arguments: &[&str], exit: i32, replaces: bool) -> Result<(), String> {
    let to = ["--to", ground.target().uri()];
    let listed: Value =
        ground.workspace.run([&["restore", "--unfinished", "--json"], &to[..]].concat()).exits(0).json();
    if let Some(unfinished) = listed["restores"].as_array().unwrap().first() {
        let resume = ["restore", "--resume", unfinished["restore"].as_str().unwrap(), "--confirm", "rs0"];
        succeeded(&ground.workspace.run([&resume, &to[..]].concat()))?;
    } else if is_as_it_was(ground, replaces).await {
        if exit == 0 {
            return Err("it says that it is done, and the target is as it was".into());
        }
        succeeded(&ground.workspace.run(arguments))?;
    }
    let found = Contents::of_database(&ground.target().client().await, TARGET).await;
    if found == restored(&ground.content) {
        Ok(())
    } else {
        Err(format!("it restored something else: {:?}", found.names()))
    }
}

/// Whether the target holds no more than what it was prepared with.
pub async fn is_as_it_was(ground: &Ground, replaces: bool) -> bool {
    let found = Contents::of_database(&ground.target().client().await, TARGET).await;
    if replaces { found.names() == [format!("{TARGET}.orders")] } else { found.names().is_empty() }
}
