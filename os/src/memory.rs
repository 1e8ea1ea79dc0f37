//! Memory shared between processes: an array of `T` in a memfd.
//!
//! `T` must be made of atomics: another process, which may be broken, writes to it at any time.
//! The compiler checks this as `T: Sync + FromBytes`, a type for which every bit pattern is a value
//! and that can be shared. Absent on purpose: growing, shrinking, locks.
#![allow(unsafe_code)]

use std::{
    io, mem,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr::NonNull,
    slice,
    sync::atomic::AtomicU64,
};

use rustix::{
    fs::{
        FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fstat, ftruncate,
        memfd_create,
    },
    mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap},
    param::page_size,
};
use zerocopy::FromBytes;

/// An array of `T`, the same for every process that maps it.
#[derive(Debug)]
pub struct SharedArray<T> {
    memory: OwnedFd,
    start: NonNull<T>,
    count: usize,
}

// SAFETY: the mapping is reachable from any thread, and T: Sync is demanded where it is made.
unsafe impl<T: Sync> Send for SharedArray<T> {}
// SAFETY: as above; only shared references to T are ever handed out.
unsafe impl<T: Sync> Sync for SharedArray<T> {}

impl<T: FromBytes + Sync> SharedArray<T> {
    /// A new array of `count` zeroed elements.
    ///
    /// # Errors
    /// The system has no memory or no descriptor for it, or its size is 0 or overflows.
    pub fn create(name: &str, count: usize) -> io::Result<Self> {
        let memory = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let bytes = Self::bytes(count)?;
        ftruncate(&memory, bytes as u64)?;
        // A process that shrank the file would kill all others with SIGBUS.
        fcntl_add_seals(
            &memory,
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
        )?;
        Self::map(memory, count)
    }

    /// The array that another process has created.
    ///
    /// # Errors
    /// The memory has another size, or the system does not map it.
    pub fn open(memory: OwnedFd, count: usize) -> io::Result<Self> {
        if fstat(&memory)?.st_size as u64 != Self::bytes(count)? as u64 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the shared memory has another size",
            ));
        }
        Self::map(memory, count)
    }

    fn bytes(count: usize) -> io::Result<usize> {
        count
            .checked_mul(mem::size_of::<T>())
            .filter(|bytes| *bytes > 0)
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "the shared memory has an impossible size",
                )
            })
    }

    fn map(memory: OwnedFd, count: usize) -> io::Result<Self> {
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing of ours.
        let start = unsafe {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            mmap(
                std::ptr::null_mut(),
                Self::bytes(count)?,
                protection,
                MapFlags::SHARED,
                &memory,
                0,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        assert!(
            start.is_aligned(),
            "types in shared memory are at most page-aligned"
        );
        Ok(Self {
            memory,
            start,
            count,
        })
    }

    /// Every element.
    pub fn all(&self) -> &[T] {
        // SAFETY: the mapping holds `count` elements and lives as long as `self`; any bytes are a T
        // (FromBytes), and T changes only through its own atomics (Sync).
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }

    /// Zeroes one element and gives its memory back to the system.
    ///
    /// # Errors
    /// The system refuses it: the element is as it was.
    pub fn clear(&self, index: usize) -> io::Result<()> {
        let size = mem::size_of::<T>();
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(
            &self.memory,
            flags,
            (index * size) as u64,
            size as u64,
        )?)
    }
}

impl<T> AsFd for SharedArray<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

impl<T> Drop for SharedArray<T> {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `map`, and no reference to it outlives `self`.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.count * mem::size_of::<T>()) };
    }
}

/// Has the system allocate and map every page of these words now, by one call, instead of each page
/// at its first store. The words keep their values.
///
/// The call is that for reading: a page of shared memory that is mapped can be written to as well,
/// and pages that another process has allocated are then mapped many at a time.
///
/// # Errors
/// The system has no such call (Linux before 5.14) or no memory. Then a page is allocated at its
/// first store, as without this.
pub fn populate(words: &[AtomicU64]) -> io::Result<()> {
    let start = words.as_ptr();
    // The call wants the beginning of a page.
    let before = start.addr() % page_size();
    let bytes = before + size_of_val(words);
    let start = start.wrapping_byte_sub(before).cast_mut().cast();
    // SAFETY: the range has only pages on which some of `words` lie, so all of it is mapped and
    // stays mapped during the call, and this advice changes no byte of it.
    unsafe { madvise(start, bytes, Advice::LinuxPopulateRead)? };
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    fn pages(array: &SharedArray<AtomicU64>) -> u64 {
        let blocks = fstat(array).unwrap().st_blocks as u64;
        blocks * 512 / page_size() as u64
    }

    #[test]
    fn populated_words_have_their_pages_before_the_first_store_and_keep_their_values() {
        let words_of_a_page = page_size() / size_of::<AtomicU64>();
        let array = SharedArray::<AtomicU64>::create("test", 4 * words_of_a_page).unwrap();
        let words = array.all();
        words[words_of_a_page].store(7, Ordering::Relaxed);
        assert_eq!(pages(&array), 1);
        // Neither the first nor the last word begins or ends a page.
        let populated = &words[words_of_a_page + 3..2 * words_of_a_page + 5];
        match populate(populated) {
            Ok(()) => assert_eq!(pages(&array), 2),
            Err(error) => assert_eq!(
                error.kind(),
                io::ErrorKind::InvalidInput,
                "Linux before 5.14"
            ),
        }
        let values = words.iter().map(|word| word.load(Ordering::Relaxed));
        assert_eq!(values.sum::<u64>(), 7);
        assert_eq!(words[words_of_a_page].load(Ordering::Relaxed), 7);
    }
}
