//! What the standard library has for strings only: whether bytes are in bytes. Keys and values need not be text.

/// Whether `part`, which is not empty, is somewhere in `bytes`.
pub(crate) fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
