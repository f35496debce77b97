//! The `tenure` command.

use std::alloc::{GlobalAlloc, Layout};
use std::process::ExitCode;

use libmimalloc_sys as mi;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// mimalloc without its detour for large alignments: what it allocates is aligned as C asks anyway, and the detour costs
/// as much again (`mimalloc::MiMalloc` takes it always).
struct MiMalloc;

/// mimalloc aligns every block of at least this size to it.
const ALIGNED: usize = 16;

fn is_aligned_anyway(layout: Layout, size: usize) -> bool {
    layout.align() <= ALIGNED && layout.align() <= size
}

// SAFETY: mimalloc's own functions, each with the size and alignment that it is asked for.
unsafe impl GlobalAlloc for MiMalloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_aligned_anyway(layout, layout.size()) {
            // SAFETY: any size can be asked for.
            unsafe { mi::mi_malloc(layout.size()).cast() }
        } else {
            // SAFETY: a layout's alignment is a power of two.
            unsafe { mi::mi_malloc_aligned(layout.size(), layout.align()).cast() }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_aligned_anyway(layout, layout.size()) {
            // SAFETY: as above.
            unsafe { mi::mi_zalloc(layout.size()).cast() }
        } else {
            // SAFETY: as above.
            unsafe { mi::mi_zalloc_aligned(layout.size(), layout.align()).cast() }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller has it from here, and gives it up.
        unsafe { mi::mi_free(block.cast()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if is_aligned_anyway(layout, size) {
            // SAFETY: the caller has it from here.
            unsafe { mi::mi_realloc(block.cast(), size).cast() }
        } else {
            // SAFETY: as above.
            unsafe { mi::mi_realloc_aligned(block.cast(), size, layout.align()).cast() }
        }
    }
}

fn main() -> ExitCode {
    tenure_sim::cli::main()
}
