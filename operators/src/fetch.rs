//! Memory that is asked for before it is needed.
//!
//! A line that is in no cache takes as long as hundreds of instructions. Whoever knows some records ahead what he will read
//! asks for it, goes on, and finds it there when he comes to it.

/// The bytes of a cache line.
const LINE_BYTES: usize = 64;

/// The most that is asked for of one slice: beyond it, reading in order finds its own way.
const SLICE_BYTES_MAX: usize = 4_096;

/// Asks for every cache line of a value, and waits for none of them.
#[inline]
pub fn fetch<T>(value: &T) {
    lines(std::ptr::from_ref(value).cast(), size_of::<T>());
}

/// Asks for the cache lines of the first values of a slice, and waits for none of them.
pub fn fetch_slice<T>(values: &[T]) {
    lines(values.as_ptr().cast(), size_of_val(values).min(SLICE_BYTES_MAX));
}

/// A loop that is unrolled where the size is that of a type.
#[inline(always)]
fn lines(start: *const i8, bytes: usize) {
    let mut offset = 0;
    while offset < bytes {
        line(start.wrapping_add(offset));
        offset += LINE_BYTES;
    }
    // A value may begin anywhere in a line: the last byte's line comes on top.
    if bytes > 0 {
        line(start.wrapping_add(bytes - 1));
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[inline(always)]
fn line(address: *const i8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

    // SAFETY: a prefetch reads and writes nothing that the program could see, and faults at no address. It needs SSE, which
    // every x86-64 processor has.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address) }
}

/// Elsewhere the processor finds out by itself.
#[cfg(not(target_arch = "x86_64"))]
fn line(_: *const i8) {}
