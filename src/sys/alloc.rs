//! An allocator for a process that lives for milliseconds: it only moves forward.
//!
//! The C library's allocator costs more than all parsing of a run, mostly in system calls and
//! page faults. Here memory is cut off a chunk, and freed only when it was the last piece cut,
//! which is what a growing `Vec` or `String` is. Large pieces go to the C library and back.
//!
//! A verb that runs for days says so first ([`run_long`]): from then on all new pieces are the C
//! library's, which gives back what is freed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::null_mut;

/// One chunk; pages are touched, and so paid for, only when they are used.
const CHUNK: usize = 1 << 20;
/// From this size on the C library serves, so that big buffers are given back.
const LARGE: usize = 64 << 10;
/// The least alignment, as malloc has it. Code that casts a buffer of bytes to something else
/// relies on it: nix does for control messages.
const LEAST_ALIGN: usize = align_of::<libc::max_align_t>();

/// At the start of each chunk: where the one before it is. A multiple of the least alignment.
const HEADER: usize = LEAST_ALIGN;

// Not for the unit tests, which run in threads.
#[cfg_attr(not(test), global_allocator)]
static HEAP: Forward = Forward::new();

/// From here on allocate in a way that is slower, but fit for a process that goes on.
pub fn run_long() {
    HEAP.chunk().runs_long = true;
}

/// The global allocator. Only for a program without threads.
pub struct Forward(UnsafeCell<Chunk>);

struct Chunk {
    next: *mut u8,
    end: *mut u8,
    /// New pieces are the C library's.
    runs_long: bool,
}

// SAFETY: the runtime starts no thread, so nobody shares the cell; a cloned child has a copy.
unsafe impl Sync for Forward {}

impl Forward {
    const fn new() -> Self {
        Self(UnsafeCell::new(Chunk {
            next: null_mut(),
            end: null_mut(),
            runs_long: false,
        }))
    }

    /// The chunk, for the length of one call.
    #[expect(
        clippy::mut_from_ref,
        reason = "no two of them live at once, see Sync above"
    )]
    fn chunk(&self) -> &mut Chunk {
        // SAFETY: one thread, and no method below calls another that asks for it again while
        // the reference lives.
        unsafe { &mut *self.0.get() }
    }
}

impl Chunk {
    /// Cut a piece off; null when the kernel has no memory.
    fn cut(&mut self, layout: Layout) -> *mut u8 {
        let padding = self.next.align_offset(layout.align().max(LEAST_ALIGN));
        let left = self.end.addr() - self.next.addr();
        if padding.saturating_add(layout.size()) > left || self.next.is_null() {
            return self.renew(layout);
        }
        let piece = self.next.wrapping_add(padding);
        self.next = piece.wrapping_add(layout.size());
        piece
    }

    /// What was left of the old chunk is lost: less than one piece.
    fn renew(&mut self, layout: Layout) -> *mut u8 {
        if layout.align() > LARGE {
            return null_mut();
        }
        let before = self.end;
        // SAFETY: an anonymous mapping at a place of the kernel's choice touches nothing.
        let chunk = unsafe {
            libc::mmap(
                null_mut(),
                CHUNK,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if chunk == libc::MAP_FAILED {
            return null_mut();
        }
        // SAFETY: the mapping is ours, longer than a pointer, and begins with a page.
        unsafe { chunk.cast::<*mut u8>().write(before) };
        self.next = chunk.cast::<u8>().wrapping_add(HEADER);
        self.end = chunk.cast::<u8>().wrapping_add(CHUNK);
        self.cut(layout)
    }

    /// Whether System made a piece.
    fn is_foreign(&self, piece: *mut u8, layout: Layout) -> bool {
        layout.size() >= LARGE || (self.runs_long && !self.made(piece))
    }

    /// Whether a piece was cut off this chunk, or one before it: there are two or three in all.
    fn made(&self, piece: *mut u8) -> bool {
        let mut end = self.end;
        while !end.is_null() {
            let start = end.wrapping_sub(CHUNK);
            if (start.addr()..end.addr()).contains(&piece.addr()) {
                return true;
            }
            // SAFETY: `renew` has written it there; chunks are never unmapped.
            end = unsafe { start.cast::<*mut u8>().read() };
        }
        false
    }
}

// SAFETY: each piece is cut once, aligned and of its size; it is cut again only after it was
// freed as the last one. Which of the two allocators a piece is of is told by its size, and once
// the process runs long, by its address.
unsafe impl GlobalAlloc for Forward {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let chunk = self.chunk();
        if layout.size() >= LARGE || chunk.runs_long {
            // SAFETY: the caller's promises are passed on.
            return unsafe { System.alloc(layout) };
        }
        chunk.cut(layout)
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let chunk = self.chunk();
        if chunk.is_foreign(piece, layout) {
            // SAFETY: by its size or its address, System made it.
            return unsafe { System.dealloc(piece, layout) };
        }
        if piece.wrapping_add(layout.size()) == chunk.next {
            chunk.next = piece;
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let chunk = self.chunk();
        if !chunk.is_foreign(piece, layout) && size < LARGE {
            let is_last = piece.wrapping_add(layout.size()) == chunk.next;
            if is_last && size <= chunk.end.addr() - piece.addr() {
                chunk.next = piece.wrapping_add(size);
                return piece;
            }
            if size <= layout.size() {
                return piece;
            }
        }
        // SAFETY: the caller promises that `size` is a valid size for this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: `wanted` has a size above zero, as the caller promises.
        let moved = unsafe { self.alloc(wanted) };
        if !moved.is_null() {
            // SAFETY: both are at least that long, and a new piece does not overlap an old one.
            unsafe { piece.copy_to_nonoverlapping(moved, layout.size().min(size)) };
            // SAFETY: `piece` is of `layout`, and nobody uses it from here on.
            unsafe { self.dealloc(piece, layout) };
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn pieces_are_aligned_and_apart() {
        let heap = Forward::new();
        let mut last = 0;
        for (size, align) in [(1, 1), (8, 8), (100, 64), (3, 2), (4096, 4096), (1, 1)] {
            // SAFETY: sizes are above zero; the pieces are leaked.
            let piece = unsafe { heap.alloc(layout(size, align)) }.addr();
            assert_eq!(piece % align.max(16), 0);
            assert!(piece >= last);
            last = piece + size;
        }
    }

    #[test]
    fn the_last_piece_grows_in_place_and_an_inner_one_moves_whole() {
        let heap = Forward::new();
        // SAFETY: each piece is used with the layout that it was made with, and not after it
        // was freed.
        unsafe {
            let a = heap.alloc(layout(8, 8));
            a.write(42);
            let grown = heap.realloc(a, layout(8, 8), 64);
            assert_eq!(a, grown);
            let b = heap.alloc(layout(8, 8));
            let moved = heap.realloc(grown, layout(64, 8), 128);
            assert!(moved != grown && moved > b);
            assert_eq!(moved.read(), 42);
            heap.dealloc(moved, layout(128, 8));
            assert_eq!(heap.alloc(layout(16, 8)), moved);
        }
    }

    #[test]
    fn large_pieces_cross_the_border_both_ways() {
        let heap = Forward::new();
        // SAFETY: as above.
        unsafe {
            let small = heap.alloc(layout(LARGE - 1, 1));
            small.write(7);
            let large = heap.realloc(small, layout(LARGE - 1, 1), 3 * CHUNK);
            assert_eq!(large.read(), 7);
            let back = heap.realloc(large, layout(3 * CHUNK, 1), 10);
            assert_eq!(back.read(), 7);
        }
    }

    #[test]
    fn old_pieces_stay_its_own_and_new_ones_are_the_c_librarys() {
        let heap = Forward::new();
        // SAFETY: as above.
        unsafe {
            let first = heap.alloc(layout(8, 8));
            first.write(1);
            for _ in 0..2 * CHUNK / (LARGE - 1) {
                heap.alloc(layout(LARGE - 1, 1));
            }
            let last = heap.alloc(layout(8, 8));
            last.write(2);
            heap.chunk().runs_long = true;
            assert!(heap.chunk().made(first) && heap.chunk().made(last));

            let new = heap.alloc(layout(8, 8));
            assert!(!heap.chunk().made(new));
            new.write(3);
            let new = heap.realloc(new, layout(8, 8), 64);
            assert!(!heap.chunk().made(new));
            let moved = heap.realloc(first, layout(8, 8), 64);
            assert!(!heap.chunk().made(moved));
            assert_eq!((moved.read(), last.read(), new.read()), (1, 2, 3));
            for piece in [moved, new] {
                heap.dealloc(piece, layout(64, 8));
            }
            heap.dealloc(last, layout(8, 8));
        }
    }
}
