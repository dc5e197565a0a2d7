//! The policies for the bucket.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::{project, read};

/// Returns everything that a policy allows.
fn allowed(path: &str) -> BTreeSet<String> {
    let policy: Value = serde_json::from_str(&read(path)).unwrap();
    let statements = policy["Statement"].as_array().unwrap().iter();
    let actions = statements.flat_map(|statement| match &statement["Action"] {
        Value::String(action) => vec![action.clone()],
        actions => actions.as_array().unwrap().iter().map(|action| action.as_str().unwrap().to_owned()).collect(),
    });
    actions.collect()
}

/// Returns the permissions that the program names where a request is denied.
fn asked_for() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(project("src/storage/s3")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for rest in
            text.split("s3:").skip(1).filter(|rest| rest.starts_with(|letter: char| letter.is_ascii_uppercase()))
        {
            let end = rest.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap();
            found.insert(format!("s3:{}", &rest[..end]));
        }
    }
    found
}

#[test]
fn the_policy_allows_what_the_program_asks_for_and_nothing_else() {
    assert_eq!(allowed("deploy/s3/policy.json"), asked_for());
}

#[test]
fn the_other_policy_is_the_same_without_the_right_to_delete() {
    let mut without = asked_for();
    assert!(without.remove("s3:DeleteObject"));
    assert_eq!(allowed("deploy/s3/policy-without-delete.json"), without);
}
