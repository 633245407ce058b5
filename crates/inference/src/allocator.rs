//! What the allocator keeps between runs.
//!
//! A network's values are allocated anew with each run. glibc gives the end of its heap back to the system as soon as some hundred
//! kilobytes of it are free, and takes large blocks from the system one by one: then every page of every value is faulted in again with each sample,
//! which took more than half of the time of networks with values above 128 KiB. A program that runs models asks it to keep
//! what they use, and gives it back when a model leaves. Other allocators than glibc's aren't asked for anything.

/// The least that is taken from the system by itself, in bytes: the most that glibc allows.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 32 << 20;

/// How much may be free at the end of a heap, in bytes; threads that run models may have one each.
#[cfg(target_env = "gnu")]
const KEPT: libc::c_int = 64 << 20;

/// Asks the allocator to keep what runs use, for the whole process; for who runs models again and again. Call it before anything large is allocated.
pub fn keep_memory() {
    #[cfg(target_env = "gnu")]
    {
        let settings = [(libc::M_MMAP_THRESHOLD, LARGE), (libc::M_TRIM_THRESHOLD, KEPT)];
        for (setting, bytes) in settings {
            #[expect(unsafe_code, reason = "the one way to say so once the process runs")]
            // SAFETY: it takes two numbers, touches the allocator's own settings under its lock, and refuses what it doesn't know.
            let is_taken = unsafe { libc::mallopt(setting, bytes) } == 1;
            if !is_taken {
                tracing::debug!(setting, bytes, "the allocator doesn't take a setting");
            }
        }
    }
}

/// Gives what is kept and not in use back to the system: behind a model that has left. It takes a millisecond or some, for which
/// a thread that allocates may have to wait.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "the one way to ask for it")]
        // SAFETY: it takes a number, and gives back under the allocator's locks what nobody has.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}
