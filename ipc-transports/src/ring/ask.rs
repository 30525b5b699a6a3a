//! When a writer asks for the lines it will write.

/// Whether it asks as it begins to write a message, instead of as soon as it has published the one before.
///
/// Sooner is better where the lines stay. On Intel's processors the reader's prefetchers take them back while it reads on, and the
/// requests are in the way of the answer (docs/performance.md, "shm").
pub(super) fn before_writing() -> bool {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        let vendor = core::arch::x86_64::__cpuid(0);
        [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel"
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    false
}
