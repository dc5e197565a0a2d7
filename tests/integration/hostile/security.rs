//! SECURITY.md names a test for each of its promises: each of them exists.

use std::fs;
use std::path::Path;

const SECURITY: &str = include_str!("../../../SECURITY.md");

/// Returns the tests that a text names: `module::test` in backquotes.
fn named(text: &str) -> Vec<&str> {
    let parts = text.split('`').skip(1).step_by(2);
    parts.filter(|part| part.contains("::") && !part.contains(['/', ' ', '('])).collect()
}

/// Whether one of the test's files has a function of that name.
fn exists(test: &str) -> bool {
    let (module, function) = test.rsplit_once("::").expect("it has a module");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration");
    let file = root.join(module.replace("::", "/")).with_extension("rs");
    fs::read_to_string(file).is_ok_and(|source| source.contains(&format!("fn {function}(")))
}

#[test]
fn each_test_that_the_threat_model_names_exists() {
    let tests = named(SECURITY);
    assert!(tests.len() > 15, "{tests:?}");
    let missing: Vec<_> = tests.into_iter().filter(|test| !exists(test)).collect();
    assert!(missing.is_empty(), "SECURITY.md names tests that are not there: {missing:?}");
    assert!(!exists("hostile::keys::no_such_test") && !exists("no_such_module::a"));
}
