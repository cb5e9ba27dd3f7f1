//! Memory that is asked for before it is needed.

/// The bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Asks for every cache line of a value, and waits for none of them.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub(super) fn fetch<T>(value: &T) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

    let start = std::ptr::from_ref(value).cast::<i8>();
    // A value may begin anywhere in a line: the last byte's line comes on top.
    for offset in (0..size_of::<T>()).step_by(LINE_BYTES).chain([size_of::<T>().saturating_sub(1)]) {
        // SAFETY: a prefetch reads and writes nothing that the program could see, and faults at no address; this one lies
        // within a live value. It needs SSE, which every x86-64 processor has.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(offset)) }
    }
}

/// Elsewhere the processor finds out by itself.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn fetch<T>(_: &T) {}
