//! The `regrow` command: everything is in the library.

use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn main() -> ExitCode {
    share_one_heap();
    leave_no_core();
    regrow::cli::run()
}

/// Lets a crash leave no core behind: it would hold documents and keys. Where the system pipes cores to a program, that one decides.
fn leave_no_core() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Core);
    // Less than the maximum is always allowed.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum });
}

/// Lets all threads share one heap. The C library would give up to eight for each core to them, and each keeps much of what was
/// freed in it: a backup's buffers pass from thread to thread, and took half as much memory again, in no less time
/// (`docs/PERFORMANCE.md`). It has to come before any other thread is there.
fn share_one_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes two numbers, and no other thread is there yet. A number that it does not know changes nothing.
    #[allow(unsafe_code)]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
