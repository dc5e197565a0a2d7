//! Where an export goes: standard output, or files that get their names only when they are whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::{TempDir, TempPath};

use crate::error::{Error, Result};

/// How many bytes are gathered before they are written.
const BUFFER: usize = 256 * 1024;

/// What names of unfinished exports begin with.
const TEMPORARY: &str = ".regrow-export-";

/// A stream of bytes, written away from the runtime's threads.
pub struct Output {
    /// What messages call it.
    name: String,
    /// None only while somebody writes.
    sink: Option<Sink>,
}

enum Sink {
    Plain(BufWriter<Device>),
    Gzip(GzEncoder<BufWriter<Device>>),
}

enum Device {
    File(File),
    Stdout,
}

impl Output {
    /// Returns the standard output.
    #[must_use]
    pub fn stdout(gzip: bool) -> Self {
        Self::new("stdout".into(), Device::Stdout, gzip)
    }

    fn file(path: &Path, file: File, gzip: bool) -> Self {
        Self::new(path.display().to_string(), Device::File(file), gzip)
    }

    fn new(name: String, device: Device, gzip: bool) -> Self {
        let device = BufWriter::with_capacity(BUFFER, device);
        let sink = if gzip { Sink::Gzip(GzEncoder::new(device, Compression::default())) } else { Sink::Plain(device) };
        Self { name, sink: Some(sink) }
    }

    /// Lets `work` write, on a thread that may block, and returns what it returns.
    ///
    /// # Errors
    /// Whatever `work` says.
    pub async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut dyn Write) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let closed = || Error::failed("an output is used that was closed");
        let mut sink = self.sink.take().ok_or_else(closed)?;
        let working = tokio::task::spawn_blocking(move || {
            let outcome = work(&mut sink);
            (sink, outcome)
        });
        let (sink, outcome) = working.await.map_err(|error| Error::failed("cannot write").caused_by(error))?;
        self.sink = Some(sink);
        outcome
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// When they cannot be written.
    pub async fn write(&mut self, bytes: Vec<u8>) -> Result<()> {
        let name = self.name.clone();
        self.run(move |output| output.write_all(&bytes).map_err(|error| unwritable(&name, error))).await
    }

    /// Writes what is still gathered, and makes sure that a file is on its disk.
    ///
    /// # Errors
    /// When that cannot be done.
    pub async fn finish(mut self) -> Result<()> {
        let Some(sink) = self.sink.take() else { return Ok(()) };
        let finished = tokio::task::spawn_blocking(move || sink.finish()).await;
        let finished = finished.map_err(|error| Error::failed("cannot write").caused_by(error))?;
        finished.map_err(|error| unwritable(&self.name, error))
    }
}

impl Sink {
    fn finish(self) -> io::Result<()> {
        let mut buffer = match self {
            Self::Plain(buffer) => buffer,
            Self::Gzip(encoder) => encoder.finish()?,
        };
        buffer.flush()?;
        match buffer.get_ref() {
            Device::File(file) => file.sync_all(),
            Device::Stdout => Ok(()),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(buffer) => buffer.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // Only the end counts.
    }
}

impl Write for Device {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stdout => io::stdout().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stdout => io::stdout().flush(),
        }
    }
}

/// A file that gets its name when it is whole; dropping it removes it.
pub struct FileTarget {
    path: PathBuf,
    temporary: TempPath,
}

impl FileTarget {
    /// Begins a file that only its owner may read.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::error::Kind::Refused) when there is something of that name.
    pub fn create(path: &Path, gzip: bool) -> Result<(Self, Output)> {
        if path.symlink_metadata().is_ok() {
            return Err(exists(path));
        }
        let temporary = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(parent(path));
        let (file, temporary) = temporary.map_err(|error| cannot_create(path, error))?.into_parts();
        Ok((Self { path: path.to_owned(), temporary }, Output::file(path, file, gzip)))
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::error::Kind::Refused) when there is something of that name by now.
    pub fn keep(self) -> Result<()> {
        self.temporary.persist_noclobber(&self.path).map_err(|error| match error.error.kind() {
            ErrorKind::AlreadyExists => exists(&self.path),
            _ => unwritable(&self.path.display().to_string(), error.error),
        })?;
        sync_folder(parent(&self.path))
    }
}

/// A folder that gets its name when all its files are whole; dropping it removes it.
pub struct FolderTarget {
    path: PathBuf,
    temporary: TempDir,
}

impl FolderTarget {
    /// Begins a folder that only its owner may read.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::error::Kind::Refused) when there is something of that name, other than an empty folder.
    pub fn create(path: &Path) -> Result<Self> {
        let is_empty = || fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
        if path.symlink_metadata().is_ok() && !is_empty() {
            return Err(exists(path));
        }
        let temporary = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(parent(path));
        let temporary = temporary.map_err(|error| cannot_create(path, error))?;
        Ok(Self { path: path.to_owned(), temporary })
    }

    /// Begins a file of the folder, by its path in there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn file(&self, path: &str, gzip: bool) -> Result<Output> {
        let path = self.temporary.path().join(path);
        let create = || {
            fs::create_dir_all(parent(&path))?;
            File::create_new(&path)
        };
        let file = create().map_err(|error| cannot_create(&path, error))?;
        Ok(Output::file(&path, file, gzip))
    }

    /// Gives the folder its name.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::error::Kind::Refused) when there is something of that name by now.
    pub fn keep(self) -> Result<()> {
        fs::rename(self.temporary.path(), &self.path).map_err(|error| match error.kind() {
            ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists | ErrorKind::NotADirectory => exists(&self.path),
            _ => unwritable(&self.path.display().to_string(), error),
        })?;
        let _ = self.temporary.keep(); // There is nothing of that name any more.
        sync_folder(parent(&self.path))
    }
}

/// Says that something cannot be written to.
pub(super) fn unwritable(name: &str, error: io::Error) -> Error {
    Error::failed(format!("cannot write to {name}")).caused_by(error)
}

fn cannot_create(path: &Path, error: io::Error) -> Error {
    Error::failed(format!("cannot create {}", path.display()))
        .caused_by(error)
        .with_hint("check that the folder exists and may be written to")
}

fn exists(path: &Path) -> Error {
    Error::refused(format!("{} exists already", path.display())).with_hint("name another one, or remove it first")
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_folder(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| unwritable(&folder.display().to_string(), error))
}
