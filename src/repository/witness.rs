//! What this process, and the machine by a file, remember of a repository: objects that are never removed. Where one is
//! gone, the repository was put back to an earlier state, or exchanged.
//!
//! What a crash leaves is the file as it was, or the new one; both tell the truth. While something that is remembered
//! is not there, nothing newer is remembered: it must not be forgotten before somebody has looked.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::format::evidence::Predecessor;
use crate::format::witness::WitnessFile;
use crate::format::{RepositoryId, VERSION, layout};

/// Objects, by key, each with its hash. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Witness {
    path: Option<PathBuf>,
    remembered: Arc<Mutex<BTreeMap<String, [u8; 32]>>>,
}

impl Witness {
    /// Reads what the file remembers of this repository, whose descriptor has this hash. One that is not there yet
    /// remembers nothing.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when the file cannot be read, or is about another repository.
    pub(super) fn open(path: Option<PathBuf>, id: &RepositoryId, descriptor: [u8; 32]) -> Result<Self> {
        let kept = path.as_deref().map(read).transpose()?.flatten();
        let mut remembered = BTreeMap::from([(layout::DESCRIPTOR.to_owned(), descriptor)]);
        if let Some(kept) = kept {
            if kept.repository != *id {
                return Err(Error::configuration(format!(
                    "the repository is {id}, and repository.witness_file remembers {} here",
                    kept.repository
                ))
                .with_hint(
                    "if this is meant to be another repository, name another witness_file; if not, it was exchanged: \
                     restore nothing from it",
                ));
            }
            remembered.extend(kept.objects.into_iter().map(|object| (object.key, object.sha256)));
        }
        Ok(Self { path, remembered: Arc::new(Mutex::new(remembered)) })
    }

    /// Returns what is remembered.
    pub(super) fn remembered(&self) -> BTreeMap<String, [u8; 32]> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers the newest records of evidence in the place of those before. A file that cannot be written is told.
    pub(super) fn remember(&self, id: &RepositoryId, ends: &[Predecessor]) {
        let objects = {
            let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
            remembered.retain(|key, _| key == layout::DESCRIPTOR);
            remembered.extend(ends.iter().map(|end| (end.key.clone(), end.sha256)));
            remembered.iter().map(|(key, sha256)| Predecessor { key: key.clone(), sha256: *sha256 }).collect()
        };
        let Some(path) = &self.path else { return };
        let file =
            WitnessFile { format: WitnessFile::FORMAT.into(), version: VERSION, repository: id.clone(), objects };
        if let Err(error) = write(path, &file) {
            tracing::warn!(path = %path.display(), %error, "what this machine remembers of the repository could not be kept");
        }
    }
}

fn read(path: &Path) -> Result<Option<WitnessFile>> {
    match std::fs::read(path) {
        Ok(content) => WitnessFile::parse(&content).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(Error::configuration(format!("cannot read {}, which repository.witness_file names", path.display()))
                .caused_by(error)
                .with_hint("check the path and who may read it"))
        }
    }
}

fn write(path: &Path, file: &WitnessFile) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    draft.write_all(&serde_json::to_vec_pretty(file)?)?;
    draft.as_file().sync_all()?;
    draft.persist(path)?;
    Ok(())
}
