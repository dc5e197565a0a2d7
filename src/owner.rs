//! Which process something belongs to, so that a later one on the same machine can tell at once that nobody owns it any more.

use std::fs;

/// A process, told from every other one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The start of the machine and the namespace that the process's id is of.
    machine: String,
    process: u32,
    /// When the process was started, in ticks of its machine: ids are used again.
    started: String,
}

impl Owner {
    /// Returns this process; none where the machine does not tell.
    #[must_use]
    pub fn this_process() -> Option<Self> {
        let process = std::process::id();
        Some(Self { machine: machine()?, process, started: started(process)? })
    }

    /// Whether the process was one of this machine and is no more. Of another machine's nothing is known.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        machine().is_some_and(|machine| machine == self.machine)
            && started(self.process).as_ref() != Some(&self.started)
    }

    /// Returns it as one word.
    #[must_use]
    pub fn as_word(&self) -> String {
        format!("{}/{}/{}", self.machine, self.process, self.started)
    }

    /// Reads what [`as_word`](Self::as_word) wrote; none for anything else.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let mut parts = word.rsplitn(3, '/');
        let (started, process, machine) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { machine: machine.into(), process: process.parse().ok()?, started: started.into() })
    }
}

fn machine() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}/{}", boot.trim(), namespace.display()))
}

fn started(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the start is the 20th field behind it.
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_ascii_whitespace();
    // What has ended keeps its id until its parent asks for it, which in a container may be never.
    let state = fields.next().filter(|state| !["Z", "X"].contains(state));
    state.and(fields.nth(18)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_gone_when_it_has_ended_and_others_are_not_judged() {
        let this = Owner::this_process().unwrap();
        assert_eq!(Owner::parse(&this.as_word()), Some(this.clone()));
        assert!(!this.is_gone());
        assert!(Owner { started: "1".into(), ..this.clone() }.is_gone(), "its id is another's by now");
        assert!(!Owner { machine: "elsewhere".into(), started: "1".into(), ..this }.is_gone());
        assert_eq!(Owner::parse("nobody"), None);
    }

    #[test]
    fn a_process_that_nobody_has_asked_for_is_gone_too() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let process = child.id();
        let owner = Owner { machine: machine().unwrap(), process, started: started(process).unwrap() };
        assert!(!owner.is_gone());
        drop(child.stdin.take());
        while !fs::read_to_string(format!("/proc/{process}/stat")).unwrap().contains("(cat) Z") {
            std::thread::yield_now();
        }
        assert!(owner.is_gone());
        child.wait().unwrap();
    }
}
