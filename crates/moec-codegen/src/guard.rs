//! Test memory between pages that fault: a read or write outside a buffer kills the test.

use std::ptr;

/// Which end of a buffer touches an inaccessible page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    Start,
    End,
}

/// A buffer of `len` values of `T` between inaccessible pages, one of which begins or ends exactly
/// where the buffer does. Values start as `T::default()`.
pub(crate) struct Guarded<T> {
    base: *mut libc::c_void,
    mapped: usize,
    start: *mut T,
    len: usize,
}

impl<T: Copy + Default> Guarded<T> {
    /// `len` values of `T::default()`.
    pub(crate) fn new(len: usize, edge: Edge) -> Guarded<T> {
        // SAFETY: asks for a number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
        let bytes = len * size_of::<T>();
        let usable = bytes.div_ceil(page) * page;
        let mapped = usable + 2 * page;
        // SAFETY: a fresh private mapping, of which only the middle is made accessible.
        unsafe {
            let base = libc::mmap(
                ptr::null_mut(),
                mapped,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(base, libc::MAP_FAILED);
            let middle = base.byte_add(page);
            assert_eq!(libc::mprotect(middle, usable, libc::PROT_READ | libc::PROT_WRITE), 0);
            let gap = if edge == Edge::End { usable - bytes } else { 0 };
            let start = middle.byte_add(gap).cast::<T>();
            let mut guarded = Guarded { base, mapped, start, len };
            guarded.as_mut_slice().fill(T::default());
            guarded
        }
    }

    /// A copy of `values`.
    pub(crate) fn from_slice(values: &[T], edge: Edge) -> Guarded<T> {
        let mut guarded = Guarded::new(values.len(), edge);
        guarded.as_mut_slice().copy_from_slice(values);
        guarded
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: `len` initialised values of this mapping.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }

    pub(crate) fn as_ptr(&self) -> *const T {
        self.start
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut T {
        self.start
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`.
        unsafe { libc::munmap(self.base, self.mapped) };
    }
}
