//! The floors of the house: no module may use one above it, or beside it unless the table says so.
//!
//! The table is the one of `docs/ARCHITECTURE.md`. A module that is not in it fails the test, so that
//! whoever adds a module decides where it stands.

mod tokens;

use std::fs;
use std::path::{Path, PathBuf};

use tokens::{Token, tokens};

/// One row of the table.
struct Room {
    floor: u8,
    modules: &'static [&'static str],
    /// The highest floor that may be used as a whole.
    may_use_up_to: Option<u8>,
    /// Single modules that may be used besides.
    and: &'static [&'static str],
}

const HOUSE: &[Room] = &[
    Room { floor: 0, modules: &["error"], may_use_up_to: None, and: &[] },
    Room {
        floor: 0,
        modules: &[
            "clock",
            "random",
            "rate",
            "units",
            "secret",
            "pattern",
            "filter",
            "namespace",
            "progress",
            "owner",
            "patience",
            "handshake",
        ],
        may_use_up_to: None,
        and: &["error"],
    },
    Room { floor: 1, modules: &["format"], may_use_up_to: Some(0), and: &[] },
    Room { floor: 1, modules: &["codec", "operations", "policy"], may_use_up_to: Some(0), and: &["format"] },
    Room { floor: 2, modules: &["storage", "mongo"], may_use_up_to: Some(0), and: &[] },
    Room { floor: 3, modules: &["repository"], may_use_up_to: Some(1), and: &["storage"] },
    Room {
        floor: 4,
        modules: &["backup", "capture", "restore", "search", "verify", "expire", "export"],
        may_use_up_to: Some(3),
        and: &[],
    },
    Room { floor: 4, modules: &["diff"], may_use_up_to: Some(3), and: &["restore"] },
    Room { floor: 4, modules: &["import"], may_use_up_to: Some(3), and: &["backup"] },
    Room { floor: 5, modules: &["drill", "notify", "compliance"], may_use_up_to: Some(4), and: &[] },
    Room { floor: 5, modules: &["status"], may_use_up_to: Some(4), and: &["notify", "compliance"] },
    Room { floor: 5, modules: &["report"], may_use_up_to: Some(4), and: &["notify", "compliance", "status"] },
    Room { floor: 5, modules: &["doctor"], may_use_up_to: Some(4), and: &["browser", "drill", "status"] },
    Room { floor: 5, modules: &["browser"], may_use_up_to: Some(0), and: &[] },
    Room { floor: 5, modules: &["metrics"], may_use_up_to: Some(4), and: &["notify", "status"] },
    Room { floor: 6, modules: &["config", "daemon", "cli", "main"], may_use_up_to: Some(6), and: &[] },
];

/// The lowest floor that may print.
const PRINTING_FLOOR: u8 = 6;

const PRINTING_MACROS: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];

#[test]
fn every_module_keeps_to_its_floor() {
    assert_clean(imports_out_of_place);
}

#[test]
fn only_the_top_floor_prints() {
    assert_clean(prints_out_of_place);
}

#[test]
fn every_module_of_the_library_has_a_floor() {
    let source = fs::read_to_string(source_folder().join("lib.rs")).unwrap();
    let found = tokens(&source);
    let declared = found.windows(3).filter(|three| three[0].text == "mod" && three[2].text == ";");
    let declared: Vec<&str> = declared.map(|three| three[1].text).collect();
    assert!(declared.contains(&"repository"), "src/lib.rs was not understood: {declared:?}");
    let homeless: Vec<_> = declared.iter().filter(|module| room(module).is_none()).collect();
    assert!(homeless.is_empty(), "not in the table of tests/integration/floors.rs: {homeless:?}");
}

#[test]
fn violations_are_found_however_they_are_written() {
    let cases = [
        ("mongo/read.rs", "use crate::error::Error;\nuse crate::repository::Repository;\n", "mongo/read.rs:2"),
        ("mongo.rs", "use crate::{\n    error::{Error, Kind},\n    storage::Storage,\n};", "mongo.rs:3"),
        ("storage/s3.rs", "fn f() {\n    crate::format::layout::pack(1)\n}", "storage/s3.rs:2"),
        ("backup/dump.rs", "use super::super::restore::RestorePlan;", "backup/dump.rs:1"),
        ("backup.rs", "#[cfg(test)]\nmod tests {\n    use super::super::cli;\n}", "backup.rs:3"),
        ("repository.rs", "use crate::mongo::Node;", "repository.rs:1"),
        ("error.rs", "use crate::clock::Clock;", "error.rs:1"),
        ("verify.rs", "use crate::*;", "verify.rs:1"),
        ("verify.rs", "use crate::attic::Box;", "verify.rs:1"),
        ("attic.rs", "use crate::error::Error;", "attic.rs:1"),
    ];
    for (file, source, place) in cases {
        let found = imports_out_of_place(file, source);
        assert_eq!(found.len(), 1, "{source}\n{found:#?}");
        assert!(found[0].starts_with(&format!("src/{place}: ")), "{found:?} is not about {place}");
    }
    assert_eq!(prints_out_of_place("verify.rs", "fn f() {\n    eprintln!(\"x\");\n}").len(), 1);
}

#[test]
fn what_is_allowed_passes() {
    let cases = [
        ("codec/seal.rs", "use crate::format::{BackupId, manifest::Encryption};\nuse crate::codec::keys::New;"),
        ("format.rs", "// crate::cli\n/* crate::cli /* nested */ crate::cli */ pub(crate) fn f() {}"),
        ("format.rs", "const A: &str = \"crate::cli \\\" crate::cli\"; const B: &str = r#\"\"crate::cli\"#;"),
        ("format.rs", "fn f<'a>(x: &'a str) -> char { if x == '\"' { '\\'' } else { '\"' } } // crate::cli"),
        ("backup/dump.rs", "use super::plan::BackupPlan;\nmod tests {\n    use super::super::plan;\n}"),
        ("main.rs", "fn main() { regrow::cli::run() }"),
    ];
    for (file, source) in cases {
        assert_eq!(imports_out_of_place(file, source), [""; 0], "{source}");
    }
    assert_eq!(prints_out_of_place("cli.rs", "fn f() { println!() }"), [""; 0]);
}

/// Runs a check over every source file and fails with everything that it finds.
fn assert_clean(check: fn(&str, &str) -> Vec<String>) {
    let folder = source_folder();
    let files = rust_files(&folder);
    assert!(files.len() > 20, "only {} files found in {}", files.len(), folder.display());
    let found: Vec<String> = files
        .iter()
        .flat_map(|path| {
            let file = path.strip_prefix(&folder).unwrap().to_str().unwrap();
            check(file, &fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Returns a line for each import that the table does not allow.
fn imports_out_of_place(file: &str, source: &str) -> Vec<String> {
    let module = module_of(file);
    if module == "lib" {
        return Vec::new(); // It declares the modules and uses none.
    }
    let Some(own) = room(module) else {
        return vec![format!("src/{file}:1: the module {module} is not in the table of tests/integration/floors.rs")];
    };
    let used = modules_used(file, &tokens(source));
    let wrong = used.into_iter().filter(|used| used.text != module).filter_map(|used| {
        let complaint = match room(used.text) {
            None => "which is not in the table".to_owned(),
            Some(other) if other.floor > own.floor => format!("which is on floor {}, above it", other.floor),
            Some(other) if own.may_use_up_to.is_some_and(|floor| other.floor <= floor) => return None,
            Some(_) if own.and.contains(&used.text) => return None,
            Some(other) => format!("on floor {}, which the table does not allow", other.floor),
        };
        Some(format!("src/{file}:{}: {module} (floor {}) uses {}, {complaint}", used.line, own.floor, used.text))
    });
    wrong.collect()
}

/// Returns a line for each macro that prints where nothing may be printed.
fn prints_out_of_place(file: &str, source: &str) -> Vec<String> {
    if room(module_of(file)).is_some_and(|room| room.floor >= PRINTING_FLOOR) {
        return Vec::new();
    }
    let found = tokens(source);
    let calls = found.windows(2).filter(|two| PRINTING_MACROS.contains(&two[0].text) && two[1].text == "!");
    calls.map(|two| format!("src/{file}:{}: {}! below floor {PRINTING_FLOOR}", two[0].line, two[0].text)).collect()
}

/// Returns the first step of every path from the crate's root: `crate::…`, `regrow::…`, and `super::…`
/// where it leads that far up.
fn modules_used<'a>(file: &str, tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let file_depth = if module_of(file) == "main" { 0 } else { file.matches('/').count() + 1 };
    // One entry for each open brace: whether it belongs to an inline module.
    let mut braces: Vec<bool> = Vec::new();
    let mut used = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let begins = at == 0 || tokens[at - 1].text != ":";
        let inline = braces.iter().filter(|&&module| module).count();
        match token.text {
            "{" => braces.push(at >= 2 && tokens[at - 2].text == "mod"),
            "}" => drop(braces.pop()),
            "crate" | "regrow" => used.extend(first_steps(&tokens[at + 1..])),
            "super" if begins => {
                let steps = tokens[at..].chunks(3).take_while(|chunk| is_super_step(chunk)).count();
                if steps == file_depth + inline {
                    used.extend(first_steps(&tokens[at + 3 * (steps - 1) + 1..]));
                }
            }
            _ => {}
        }
    }
    used
}

fn is_super_step(tokens: &[Token<'_>]) -> bool {
    matches!(tokens, [word, first, second] if word.text == "super" && first.text == ":" && second.text == ":")
}

/// Returns what follows a `::`: one name, or the first name of each branch of a group.
fn first_steps<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let [first, second, rest @ ..] = tokens else { return Vec::new() };
    if (first.text, second.text) != (":", ":") {
        return Vec::new();
    }
    let Some(next) = rest.first() else { return Vec::new() };
    if next.text != "{" {
        return vec![*next];
    }
    let mut depth = 0;
    let mut steps = Vec::new();
    for (at, token) in rest.iter().enumerate() {
        match token.text {
            "{" => depth += 1,
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            _ if depth == 1 && matches!(rest[at - 1].text, "{" | ",") => steps.push(*token),
            _ => {}
        }
    }
    steps
}

fn room(module: &str) -> Option<&'static Room> {
    HOUSE.iter().find(|room| room.modules.contains(&module))
}

/// Returns the top module that a file, relative to `src`, belongs to.
fn module_of(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
