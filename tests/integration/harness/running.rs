//! Runs a program to its end, or starts it to be interrupted or killed on the way.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

use super::planted;

/// Longer than any test's command may take on a loaded machine: whatever is still running then hangs.
const LIMIT: Duration = Duration::from_mins(5);
const POLL: Duration = Duration::from_millis(5);

/// Longer than anything that is waited for takes on a loaded machine, and how often it is looked for: looking may be a command.
const COMES_WITHIN: Duration = Duration::from_mins(3);
const LOOKS: Duration = Duration::from_millis(100);

/// A program about to run.
pub struct Invocation {
    pub(super) command: Command,
    stdin: Vec<u8>,
}

impl Invocation {
    pub(super) fn new(program: &str, folder: &Path) -> Self {
        let mut command = Command::new(program);
        command.current_dir(folder).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        Self { command, stdin: Vec::new() }
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Gives the program this to read; nothing, otherwise.
    pub fn stdin(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdin = text.into();
        self
    }

    pub fn run(self) -> Run {
        self.spawn().wait()
    }

    /// Starts the program. Its input and output are files, so that neither side ever waits for the other.
    pub fn spawn(mut self) -> Running {
        let mut input = NamedTempFile::new().expect("a temporary file can be made");
        input.write_all(&self.stdin).expect("a temporary file is writable");
        let [stdout, stderr] = [(); 2].map(|()| NamedTempFile::new().expect("a temporary file can be made"));
        let child = self
            .command
            .stdin(File::open(input.path()).expect("the file was just made"))
            .stdout(writer(&stdout))
            .stderr(writer(&stderr))
            .spawn()
            .expect("the program can be started");
        // Not its environment, in which secrets are.
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let name = words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ");
        Running { name, child, stdout, stderr }
    }
}

/// A program that runs; dropping this kills it, and panics where it has said a secret.
pub struct Running {
    name: String,
    child: Child,
    stdout: NamedTempFile,
    stderr: NamedTempFile,
}

impl Run {
    /// Returns everything that the program has said.
    pub fn stdout_and_stderr(&self) -> String {
        [self.stdout.as_str(), &self.stderr].concat()
    }
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the program as a power cut would, unless it has ended.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Sends a signal by its name: `INT` is Ctrl-C, `TERM` what a service manager sends.
    pub fn signal(&self, name: &str) {
        let sent =
            Command::new("sh").args(["-c", &format!("kill -{name} {}", self.pid())]).stderr(Stdio::null()).status();
        assert!(sent.is_ok_and(|status| status.success()), "{} has ended before SIG{name}", self.name);
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_none()
    }

    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Waits until the program has said `text` on stdout or stderr; panics when it ends without.
    pub fn wait_until_it_says(&mut self, text: &str) {
        let begin = Instant::now();
        loop {
            // In this order: what it said before it ended must count.
            let running = self.is_running();
            let said = self.stdout() + &self.stderr();
            if said.contains(text) {
                return;
            }
            assert!(running && begin.elapsed() < LIMIT, "{} never said '{text}' but\n{said}", self.name);
            std::thread::sleep(POLL);
        }
    }

    /// Waits until something is so; panics when the program ends without.
    pub fn wait_until(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let begin = Instant::now();
        loop {
            // In this order: what was so before it ended must count.
            let running = self.is_running();
            if is_so(self) {
                return;
            }
            let waits = running && begin.elapsed() < COMES_WITHIN;
            assert!(waits, "{what} never came to be; {} said\n{}", self.name, self.stderr());
            std::thread::sleep(LOOKS);
        }
    }

    /// Waits for the program's end.
    pub fn wait(mut self) -> Run {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                break status;
            }
            assert!(begin.elapsed() < LIMIT, "{} hangs; it said\n{}", self.name, self.stderr());
            std::thread::sleep(POLL);
        };
        let bytes = fs::read(self.stdout.path()).expect("the output was kept");
        let stdout = String::from_utf8_lossy(&bytes).into_owned();
        Run { code: code(status), stdout, bytes, stderr: self.stderr() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            planted::is_kept(&self.name, &[self.stdout(), self.stderr()].concat());
        }
    }
}

/// What a program left behind.
#[derive(Debug)]
pub struct Run {
    /// The exit code; 128 + its number when a signal ended the program, as in a shell.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// Stdout as it came, for documents in BSON.
    pub bytes: Vec<u8>,
}

impl Run {
    /// Checks the exit code; panics with what the program said.
    pub fn exits(self, code: i32) -> Self {
        let Self { stdout, stderr, .. } = &self;
        assert_eq!(self.code, code, "the exit code\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        self
    }

    /// Returns stdout read as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("stdout is not the JSON: {error}\n{self:?}"))
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().expect("ended by a signal, if not by itself"))
}

fn writer(file: &NamedTempFile) -> File {
    file.reopen().expect("a temporary file can be opened again")
}

fn read(file: &NamedTempFile) -> String {
    String::from_utf8_lossy(&fs::read(file.path()).expect("the output is a file")).into_owned()
}
