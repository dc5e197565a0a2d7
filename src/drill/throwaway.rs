//! A server that a drill starts for itself, and that is gone afterwards.
//!
//! It listens on a socket in a folder of its own, which none but this user may enter: what a drill restores is everything that is
//! encrypted elsewhere. Its data lies there, too, and it never deletes documents that have expired.
//! It is no member of a replica set: nothing of it is replicated, so an oplog would only be written twice. The folder holds
//! a lock for as long as the drill lives. A drill that was killed leaves server and folder: the next one finds a folder
//! whose lock nobody holds, ends the server that works in it, and removes it. Folders are made and looked for under the lock of
//! the folder around them: so one that is found without a lock of its own is no drill's that is just beginning.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf, absolute};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::process::Pid;
use tempfile::TempDir;

use crate::error::{Error, Result};
use crate::mongo::Deployment;
use crate::secret::Secret;

/// What the folders' names begin with.
const PREFIX: &str = "regrow-drill-";
const LOCK: &str = "lock";
const DATA: &str = "data";
const LOG: &str = "mongod.log";
const SOCKET: &str = "mongod.sock";

/// What of a socket's path is not written as it is. The driver knows a socket by its last five letters, so they are.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');

/// The bytes that a socket's path may have on Linux (`sun_path` of unix(7), without the zero behind it).
const LONGEST_SOCKET: usize = 107;

/// The memory that the server keeps data in: the drill must leave some to whatever else runs here.
const CACHE_GIB: &str = "1";

/// How long the server may take until it answers.
const START: Duration = Duration::from_mins(1);

/// The server and its folder. Dropping it ends one and removes the other: fields are dropped in their order.
#[derive(Debug)]
pub(super) struct Throwaway {
    server: Server,
    uri: Secret,
    folder: TempDir,
    _lock: File,
}

/// The process. Dropping it ends it: its data is worth nothing, so it need not be shut down in order.
#[derive(Debug)]
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Throwaway {
    /// Starts `mongod` with a data folder below `folder`, and waits until it answers.
    pub(super) async fn start(mongod: &Path, folder: &Path) -> Result<(Self, Deployment)> {
        let mut throwaway = Self::spawn(mongod, folder)?;
        match throwaway.answers().await {
            Ok(deployment) => Ok((throwaway, deployment)),
            Err(error) => Err(throwaway.why(error)),
        }
    }

    fn spawn(mongod: &Path, folder: &Path) -> Result<Self> {
        let failed = |doing: &str, error: std::io::Error| {
            Error::failed(format!("cannot {doing} {}", folder.display()))
                .caused_by(error)
                .with_hint("check drill.folder: it must exist, be writable, and hold all data of a backup")
        };
        let _guard = File::open(folder).and_then(locked).map_err(|error| failed("lock", error))?;
        let temporary =
            tempfile::Builder::new().prefix(PREFIX).permissions(Permissions::from_mode(0o700)).tempdir_in(folder);
        let folder = temporary.map_err(|error| failed("make a folder in", error))?;
        let lock = File::create(folder.path().join(LOCK))
            .and_then(locked)
            .map_err(|error| failed("lock a folder in", error))?;
        fs::create_dir(folder.path().join(DATA)).map_err(|error| failed("make a folder in", error))?;
        let socket = absolute(folder.path().join(SOCKET)).map_err(|error| failed("find", error))?;
        let uri = uri(&socket)?;
        let server = command(mongod, folder.path(), &socket).spawn().map_err(|error| {
            Error::configuration(format!("cannot run '{}', which drill.mongod names", mongod.display()))
                .caused_by(error)
                .with_hint("install MongoDB's mongod, or name it by its whole path")
        })?;
        Ok(Self { server: Server(server), uri, folder, _lock: lock })
    }

    /// Waits until the server answers.
    async fn answers(&mut self) -> Result<Deployment> {
        let begun = tokio::time::Instant::now();
        loop {
            match Deployment::connect(&self.uri).await {
                Err(error) if begun.elapsed() > START || self.has_ended() => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                connected => return connected,
            }
        }
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.server.0.try_wait(), Ok(None))
    }

    /// Returns why the server does not answer: what it says itself, if it says anything.
    fn why(mut self, error: Error) -> Error {
        let ended = self.server.0.try_wait().ok().flatten();
        let log = fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default();
        let said = log.lines().rev().find(|line| line.contains("\"s\":\"F\"") || line.contains("\"s\":\"E\""));
        let how = ended.map_or_else(|| "it does not answer".into(), |status| format!("it ended with {status}"));
        let error = Error::failed(format!("cannot start the drill's own server: {how}")).caused_by(error);
        match said {
            Some(line) => error.with_hint(format!("it says: {line}")),
            None => error.with_hint("start it by hand with --dbpath and an empty folder, and see what it says"),
        }
    }

    /// Ends the server and removes its folder.
    pub(super) async fn end(self) -> Result<()> {
        let ended = tokio::task::spawn_blocking(move || {
            let Self { server, folder, _lock, .. } = self;
            drop(server);
            let place = folder.path().display().to_string();
            folder.close().map_err(|error| {
                Error::failed(format!("cannot remove {place}")).caused_by(error).with_hint("remove it by hand")
            })
        });
        ended.await.map_err(|error| Error::failed("ending the drill's own server failed").caused_by(error))?
    }
}

/// Waits until nobody else holds the lock of a file or a folder, and holds it.
fn locked(file: File) -> std::io::Result<File> {
    file.lock()?;
    Ok(file)
}

/// Returns how the server is reached.
fn uri(socket: &Path) -> Result<Secret> {
    let path = socket.to_str().filter(|path| path.len() <= LONGEST_SOCKET);
    let path = path.ok_or_else(|| {
        Error::configuration(format!(
            "no server can listen at {}: {LONGEST_SOCKET} bytes of UTF-8 are the most",
            socket.display()
        ))
        .with_hint("give a shorter drill.folder")
    })?;
    let address = utf8_percent_encode(path, ENCODED);
    Ok(Secret::new(format!("mongodb://{address}/?directConnection=true&serverSelectionTimeoutMS=2000")))
}

fn command(mongod: &Path, folder: &Path, socket: &Path) -> Command {
    let mut command = Command::new(mongod);
    command.arg("--dbpath").arg(folder.join(DATA)).arg("--logpath").arg(folder.join(LOG));
    command.arg("--bind_ip").arg(socket).args(["--nounixsocket", "--wiredTigerCacheSizeGB", CACHE_GIB]);
    command.args(["--setParameter", "ttlMonitorEnabled=false"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Ends the servers and removes the folders of drills that were killed; returns the folders.
pub(super) fn sweep(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error: std::io::Error| {
        Error::failed(format!("cannot look for what earlier drills have left in {}", folder.display()))
            .caused_by(error)
            .with_hint("check drill.folder: it must exist and be writable")
    };
    let _guard = File::open(folder).and_then(locked).map_err(failed)?;
    let mut swept = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        if is_ours && path.is_dir() && is_left(&path) {
            end_server(&path);
            fs::remove_dir_all(&path).map_err(|error| {
                Error::failed(format!("cannot remove {}, which a drill has left", path.display()))
                    .caused_by(error)
                    .with_hint("end the mongod that works in it, if one does, and remove it by hand")
            })?;
            swept.push(path);
        }
    }
    Ok(swept)
}

/// Whether nobody works in a folder any more.
fn is_left(folder: &Path) -> bool {
    match File::open(folder.join(LOCK)) {
        Ok(lock) => !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
        // Its drill was killed between making the folder and the lock.
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

/// Ends the server that works in a folder, if one does: the process that was started with that very folder.
fn end_server(folder: &Path) {
    let Some(server) = server_of(&folder.join(DATA)) else { return };
    let _ = rustix::process::kill_process(server, rustix::process::Signal::KILL);
    for _ in 0..100 {
        if !process_folder(server).exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Finds a process by its arguments. A server that has only just begun has told nobody its number yet.
fn server_of(data: &Path) -> Option<Pid> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw));
    numbers.find(|process| {
        let arguments = fs::read(process_folder(*process).join("cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|argument| argument == data.as_os_str().as_encoded_bytes())
    })
}

fn process_folder(process: Pid) -> PathBuf {
    PathBuf::from(format!("/proc/{}", process.as_raw_nonzero()))
}
