//! The runbook as data: chapters, their sections, the commands of each, what one sees, and bash that types them.
//!
//! A block of `sh` holds commands; `# exit code N` at its end says how it ends when that is not 0. A block of `text` after it
//! shows lines of what is seen: in this order, others between them, `…` for anything, and any number for a number.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::harness::Workspace;

const BOOK: &str = include_str!("../../../docs/RUNBOOK.md");

/// Commands that are typed one after the other.
pub struct Block {
    commands: String,
    exit_code: i32,
    shown: Vec<String>,
}

/// What stands under one heading.
pub struct Section {
    title: String,
    blocks: Vec<Block>,
}

/// A chapter that a test follows; dropping it checks that every section with commands was followed.
pub struct Chapter {
    title: &'static str,
    sections: Vec<Section>,
    followed: RefCell<BTreeSet<String>>,
}

impl Chapter {
    pub fn open(title: &'static str) -> Self {
        let of_title = |chapter: &&str| chapter.lines().next() == Some(title);
        let text = chapters().find(of_title).unwrap_or_else(|| panic!("the runbook has no chapter '{title}'"));
        let sections: Vec<Section> = text.split("\n### ").map(Section::parse).collect();
        Self { title, sections, followed: RefCell::default() }
    }

    /// Has a shell type the commands of the sections, in this order, as somebody in an incident would.
    pub fn follow(&self, shell: &Shell<'_>, titles: &[&str]) {
        for title in titles {
            let section = self.sections.iter().find(|section| section.title == *title);
            let section = section.unwrap_or_else(|| panic!("'{}' has no section '{title}'", self.title));
            self.followed.borrow_mut().insert((*title).to_owned());
            section.blocks.iter().for_each(|block| shell.types(block, &format!("{}, {title}", self.title)));
        }
    }
}

impl Drop for Chapter {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let followed = self.followed.borrow();
        for section in self.sections.iter().filter(|section| !section.blocks.is_empty()) {
            assert!(followed.contains(&section.title), "no test follows '{}' of '{}'", section.title, self.title);
        }
    }
}

/// Returns the chapters' titles.
pub fn titles() -> impl Iterator<Item = &'static str> {
    chapters().filter_map(|chapter| chapter.lines().next())
}

fn chapters() -> impl Iterator<Item = &'static str> {
    BOOK.split("\n## ").skip(1)
}

impl Section {
    /// Reads a section from its heading on.
    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let title = lines.next().unwrap_or_default().to_owned();
        let mut blocks: Vec<Block> = Vec::new();
        while let Some(line) = lines.next() {
            let Some(language) = line.strip_prefix("```") else { continue };
            let content: Vec<String> = lines.by_ref().take_while(|line| *line != "```").map(str::to_owned).collect();
            match language {
                "sh" => blocks.push(Block::new(&content)),
                "text" => blocks.last_mut().expect("what one sees follows a command").shown = content,
                other => panic!("'{title}' has a block of '{other}', which nobody knows how to follow"),
            }
        }
        Self { title, blocks }
    }
}

impl Block {
    fn new(lines: &[String]) -> Self {
        let code = lines.last().and_then(|line| line.rsplit_once("# exit code ")).map(|(_, code)| code.trim());
        let exit_code = code.map_or(0, |code| code.parse().expect("an exit code is a number"));
        assert!(exit_code == 0 || lines.len() == 1, "a command that fails stands alone: {lines:?}");
        Self { commands: lines.join("\n"), exit_code, shown: Vec::new() }
    }
}

/// A shell that stays open between sections: it keeps its variables and its folder.
pub struct Shell<'a> {
    workspace: &'a Workspace,
    folder: PathBuf,
}

impl<'a> Shell<'a> {
    /// Opens a shell in a folder of a workspace; `""` is the workspace's own.
    pub fn open(workspace: &'a Workspace, folder: &str) -> Self {
        let folder = workspace.path(folder);
        fs::create_dir_all(&folder).unwrap();
        let shell = Self { workspace, folder };
        let _ = fs::remove_file(shell.memory());
        shell
    }

    /// Sets a variable that the text tells the reader to set.
    pub fn set(&self, name: &str, value: &str) {
        let known = fs::read_to_string(self.memory()).unwrap_or_default();
        fs::write(self.memory(), format!("{known}\nexport {name}='{value}'\n")).unwrap();
    }

    fn memory(&self) -> PathBuf {
        self.workspace.path(".shell")
    }

    fn types(&self, block: &Block, place: &str) {
        let (memory, folder) = (self.memory(), &self.folder);
        let script = format!(
            "exec 2>&1\ncd '{}'\n[ -f '{memory}' ] && . '{memory}'\nset -euo pipefail -o allexport\n{}\nexport -p >'{memory}'\n",
            folder.display(),
            block.commands,
            memory = memory.display(),
        );
        let run = self.workspace.bash(&script).run();
        let said = &run.stdout;
        assert_eq!(run.code, block.exit_code, "{place}: the exit code of\n{}\n--- it said\n{said}", block.commands);
        let mut lines = said.lines();
        for line in &block.shown {
            let is_seen = lines.any(|seen| is_like(&pattern(seen), &pattern(line)));
            assert!(is_seen, "{place}: after\n{}\nnobody sees the line\n{line}\n--- but\n{said}", block.commands);
        }
    }
}

/// Returns a line with every number, id, key and hash as `#`, and one space where several are.
fn pattern(line: &str) -> String {
    let mut pattern = String::new();
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        if end == 0 {
            if !(first == ' ' && pattern.ends_with(' ')) {
                pattern.push(first);
            }
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let word = &rest[..end];
        pattern.push_str(if is_number(word) { "#" } else { word });
        rest = &rest[end..];
    }
    pattern
}

/// Whether a word is different each time; four hexadecimal digits end an id.
fn is_number(word: &str) -> bool {
    let is_hexadecimal = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    word.bytes().any(|c| c.is_ascii_digit()) || (word.len() == 4 && word.bytes().all(is_hexadecimal))
}

/// Whether a line is what is wanted, where `…` stands for anything.
fn is_like(line: &str, wanted: &str) -> bool {
    let mut parts = wanted.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    if first.len() == wanted.len() {
        return rest.is_empty();
    }
    let parts: Vec<&str> = parts.collect();
    let (last, between) = parts.split_last().expect("there is one after each …");
    for part in between {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn what_one_sees_is_compared_but_for_numbers() {
    let like = |seen, shown| is_like(&pattern(seen), &pattern(shown));
    assert!(like("20261125T105304Z-manual-fdaa   took 3 s", "20251125T105304Z-manual-3e3d took 12 s"));
    assert!(like("the state at 10:53, 5 min ago, is it", "the state at …, … ago, …"));
    assert!(like("it took 0.1 s", "… 12.3 s") && like("anything", "…"));
    assert!(!like("1 namespace is the same", "1 namespace is as before it"));
    assert!(!like("it is", "it is not") && !like("it is not", "it is") && !like("is it so", "it …"));
}
