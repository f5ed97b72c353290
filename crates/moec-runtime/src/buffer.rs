//! Zeroed memory for tensors and scratch, aligned for the widest vectors. Owns allocation and typed
//! views, and the bytes of a shape; knows nothing of element types.
//!
//! A large buffer is an anonymous mapping on a 2 MiB boundary for which huge pages are asked:
//! weights are read once per token, and with small pages the walk of page tables shows. Its pages
//! become resident when first written.
#![expect(unsafe_code, reason = "memory is allocated by hand to choose its alignment and to survive refusal")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use memmap2::MmapMut;

/// Alignment in bytes of every buffer: one cache line, one AVX-512 register.
pub const ALIGNMENT: usize = 64;

/// Size of a huge page, and the alignment of a buffer of at least [`LARGE`] bytes.
pub const HUGE_PAGE: usize = 2 << 20;

/// From this many bytes on a buffer is mapped instead of allocated.
pub const LARGE: usize = 4 << 20;

/// The same where it is kept and read by every call. Its last huge page may be mostly empty: that is paid once.
///
/// A router's panels of 1 MB in small pages mostly came at 9 to 12 GB/s of 22 to 25 on one thread, in huge ones at 18 to 28.
pub const LARGE_KEPT: usize = 256 << 10;

/// Memory could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot allocate {bytes} bytes")]
pub struct BufferError {
    /// How many were asked for.
    pub bytes: u64,
}

/// Bytes of a contiguous tensor with elements of `size` bytes; none where no number holds them. An axis
/// of size zero empties it, however long the others are.
pub fn shape_bytes(shape: &[u64], size: usize) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(size as u64, |bytes, &axis| bytes.checked_mul(axis))
}

/// Bytes of one owner, zero at first, aligned to [`ALIGNMENT`].
pub struct Buffer {
    start: NonNull<u8>,
    bytes: usize,
    memory: Memory,
}

enum Memory {
    /// From the global allocator, with this layout.
    Allocated(Layout),
    /// Somewhere inside this mapping.
    Mapped(
        #[cfg_attr(not(test), expect(dead_code, reason = "held so that it lives as long as the buffer"))]
        MmapMut,
    ),
}

// SAFETY: a buffer owns its memory alone and hands out references by the usual borrowing rules.
unsafe impl Send for Buffer {}
// SAFETY: as above; there is no interior mutability.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A buffer of `bytes` zero bytes. A size that no machine has is an error, as is one that this
    /// machine refuses.
    pub fn zeroed(bytes: u64) -> Result<Buffer, BufferError> {
        Buffer::mapped_from(LARGE, bytes)
    }

    /// The same for what is kept and read by every call.
    pub fn zeroed_kept(bytes: u64) -> Result<Buffer, BufferError> {
        Buffer::mapped_from(LARGE_KEPT, bytes)
    }

    fn mapped_from(large: usize, bytes: u64) -> Result<Buffer, BufferError> {
        let refused = || BufferError { bytes };
        let size = usize::try_from(bytes).map_err(|_| refused())?;
        if size >= large {
            return Buffer::mapped(size).ok_or_else(refused);
        }
        let layout = Layout::from_size_align(size.max(1), ALIGNMENT).map_err(|_| refused())?;
        // SAFETY: the layout's size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(refused)?;
        Ok(Buffer { start, bytes: size, memory: Memory::Allocated(layout) })
    }

    /// A buffer for `count` elements of `size` bytes each.
    pub fn zeroed_elements(count: u64, size: usize) -> Result<Buffer, BufferError> {
        let bytes = count.checked_mul(size as u64).ok_or(BufferError { bytes: u64::MAX })?;
        Buffer::zeroed(bytes)
    }

    /// A buffer for a contiguous tensor with elements of `size` bytes.
    pub fn zeroed_shape(shape: &[u64], size: usize) -> Result<Buffer, BufferError> {
        Buffer::zeroed(shape_bytes(shape, size).unwrap_or(u64::MAX))
    }

    fn mapped(bytes: usize) -> Option<Buffer> {
        // Whole huge pages, wherever the first begins.
        let pages = bytes.checked_next_multiple_of(HUGE_PAGE)?;
        let mut map = MmapMut::map_anon(pages.checked_add(HUGE_PAGE)?).ok()?;
        #[cfg(target_os = "linux")]
        {
            // Refused by kernels without huge pages: slower, not wrong.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        let offset = map.as_ptr().align_offset(HUGE_PAGE);
        let start = NonNull::from(map.get_mut(offset..)?.first_mut()?);
        Some(Buffer { start, bytes, memory: Memory::Mapped(map) })
    }

    /// Size in bytes, as asked for.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether the size is zero.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Where the memory starts. Valid until the buffer is dropped, wherever the `Buffer` itself
    /// moves.
    pub fn as_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }

    /// Where the memory starts, for writing.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// All elements, where the buffer holds whole ones; else those that fit.
    pub fn as_slice<T: Element>(&self) -> &[T] {
        // SAFETY: the start is aligned for every `Element`, the bytes are initialised and any bits
        // are a valid `Element`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.bytes / size_of::<T>()) }
    }

    /// As [`Buffer::as_slice`], for writing.
    pub fn as_mut_slice<T: Element>(&mut self) -> &mut [T] {
        // SAFETY: as in `as_slice`, and `&mut self` makes the reference the only one.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.bytes / size_of::<T>()) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Memory::Allocated(layout) = self.memory {
            // SAFETY: `start` came from the global allocator with this layout.
            unsafe { dealloc(self.start.as_ptr(), layout) };
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.bytes)
    }
}

/// A type that a buffer may be viewed as.
///
/// # Safety
/// Any bits are a valid value, there is no padding, and the alignment is at most [`ALIGNMENT`].
pub unsafe trait Element: Copy + 'static {}

// SAFETY: a plain number.
unsafe impl Element for u8 {}
// SAFETY: a plain number.
unsafe impl Element for u16 {}
// SAFETY: a plain number.
unsafe impl Element for i32 {}
// SAFETY: a plain number.
unsafe impl Element for f32 {}
// SAFETY: a transparent wrapper of `u16`.
unsafe impl Element for half::bf16 {}
// SAFETY: a transparent wrapper of `u16`.
unsafe impl Element for half::f16 {}

/// The bytes of a slice of elements, in the machine's order.
pub fn bytes_of<T: Element>(elements: &[T]) -> &[u8] {
    // SAFETY: an `Element` has no padding, so all its bytes are initialised; the length is that of
    // the same memory.
    unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), size_of_val(elements)) }
}

/// The bytes of a slice of elements, for writing.
pub fn bytes_of_mut<T: Element>(elements: &mut [T]) -> &mut [u8] {
    // SAFETY: as in `bytes_of`; any bytes are valid elements, and the exclusive borrow goes on.
    unsafe { std::slice::from_raw_parts_mut(elements.as_mut_ptr().cast(), size_of_val(elements)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zero_aligned_and_writable_at_every_size() {
        for bytes in [0, 1, 63, 64, 4096, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE + 5] {
            let mut buffer = Buffer::zeroed(bytes as u64).unwrap();
            assert_eq!(buffer.len(), bytes);
            let alignment = if bytes >= LARGE { HUGE_PAGE } else { ALIGNMENT };
            assert_eq!(buffer.as_ptr() as usize % alignment, 0, "{bytes} bytes");
            let all = buffer.as_mut_slice::<u8>();
            assert!(all.iter().all(|&byte| byte == 0));
            all.fill(7);
            assert_eq!(buffer.as_slice::<u8>().len(), bytes);
            assert_eq!(buffer.as_slice::<f32>().len(), bytes / 4);
        }
    }

    #[test]
    fn what_is_kept_is_mapped_when_it_is_smaller() {
        for bytes in [0, 1, LARGE_KEPT - 1, LARGE_KEPT, HUGE_PAGE + 1, LARGE] {
            let mut buffer = Buffer::zeroed_kept(bytes as u64).unwrap();
            let alignment = if bytes >= LARGE_KEPT { HUGE_PAGE } else { ALIGNMENT };
            assert_eq!((buffer.len(), buffer.as_ptr() as usize % alignment), (bytes, 0));
            buffer.as_mut_slice::<u8>().fill(7);
            if let Memory::Mapped(map) = &buffer.memory {
                let end = map.as_ptr() as usize + map.len();
                assert!(buffer.as_ptr() as usize + bytes.next_multiple_of(HUGE_PAGE) <= end, "{bytes}");
            }
        }
        assert!(Buffer::zeroed_kept(u64::MAX).is_err());
    }

    #[test]
    fn absurd_sizes_are_errors() {
        for bytes in [u64::MAX, u64::MAX - HUGE_PAGE as u64, i64::MAX as u64, 1 << 62] {
            assert_eq!(Buffer::zeroed(bytes).unwrap_err().bytes, bytes);
        }
        assert!(Buffer::zeroed_elements(u64::MAX / 2, 4).is_err());
        assert!(Buffer::zeroed_shape(&[1 << 40, 1 << 40], 4).is_err());
        assert!(Buffer::zeroed_shape(&[1 << 40, 1 << 40, 0], 4).is_ok_and(|empty| empty.is_empty()));
    }
}
