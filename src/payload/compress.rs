//! Compression with reused state.

use crate::types::Encoding;
use flate2::{Compress, Compression, FlushCompress, Status};
use std::io;
use std::sync::{Mutex, PoisonError};
use zstd::zstd_safe::CParameter;

/// Compressors kept for reuse: a zstd context is a few megabytes, and making one anew for every payload costs more
/// than compressing a small one. At most as many are kept as payloads are built at once.
#[derive(Debug, Default)]
pub struct Compressors {
    idle: Mutex<Vec<Compressor>>,
}

/// One thread's compression state and its scratch memory.
#[derive(Default)]
struct Compressor {
    zstd: Option<(i32, zstd::bulk::Compressor<'static>)>,
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

/// Scratch memory beyond this is given back instead of kept.
const KEEP: usize = 8 << 20;

impl Compressors {
    /// Compresses the concatenation of `parts`. `level` 0 is the encoding's sensible default (zstd 3, zlib 6).
    ///
    /// # Errors
    /// When the library fails, which it does only for want of memory.
    pub fn compress<'a>(
        &self,
        encoding: Encoding,
        level: i32,
        parts: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<Vec<u8>> {
        let mut compressor = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let result = compressor.compress(encoding, level, parts);
        if compressor.plain.capacity() > KEEP {
            compressor.plain = Vec::new();
        }
        if compressor.packed.capacity() > KEEP {
            compressor.packed = Vec::new();
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(compressor);
        result
    }
}

impl Compressor {
    fn compress<'a>(
        &mut self,
        encoding: Encoding,
        level: i32,
        parts: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<Vec<u8>> {
        self.plain.clear();
        for part in parts {
            self.plain.extend_from_slice(part);
        }
        self.packed.clear();
        match encoding {
            Encoding::Identity => return Ok(self.plain.as_slice().to_vec()),
            Encoding::Zstd => self.zstd(if level == 0 { 3 } else { level })?,
            Encoding::Gzip => self.deflate(Compress::new_gzip(zlib_level(level), 15))?,
            Encoding::Deflate => self.deflate(Compress::new(zlib_level(level), true))?,
        }
        Ok(self.packed.as_slice().to_vec())
    }

    fn zstd(&mut self, level: i32) -> io::Result<()> {
        let zstd = match &mut self.zstd {
            Some((have, zstd)) if *have == level => zstd,
            slot => &mut slot.insert((level, zstd_compressor(level)?)).1,
        };
        self.packed.reserve(zstd::zstd_safe::compress_bound(self.plain.len()));
        zstd.compress_to_buffer(&self.plain, &mut self.packed)?;
        Ok(())
    }

    fn deflate(&mut self, mut zlib: Compress) -> io::Result<()> {
        // Deflate grows incompressible data by 5 bytes in 16 KiB at most; headers and trailer are below 32 bytes.
        self.packed.reserve(self.plain.len() + self.plain.len() / 1024 + 64);
        loop {
            let read = usize::try_from(zlib.total_in()).unwrap_or(usize::MAX);
            match zlib.compress_vec(&self.plain[read..], &mut self.packed, FlushCompress::Finish) {
                Ok(Status::StreamEnd) => return Ok(()),
                Ok(_) => self.packed.reserve(self.plain.len() / 2 + 1024),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}

/// A compressor that writes no checksum (TLS has better ones) and, at level 3, has smaller tables than that level has
/// for inputs of this size: 192 KiB, which stay in a core's own cache with the input beside them, instead of 768. That
/// is 10 to 15 % faster, and what is found less in one place is found better in another: see `docs/performance.md`.
fn zstd_compressor(level: i32) -> io::Result<zstd::bulk::Compressor<'static>> {
    let mut zstd = zstd::bulk::Compressor::new(level)?;
    if level == 3 {
        zstd.set_parameter(CParameter::HashLog(15))?;
        zstd.set_parameter(CParameter::ChainLog(14))?;
    }
    Ok(zstd)
}

fn zlib_level(level: i32) -> Compression {
    Compression::new(u32::try_from(level).ok().filter(|level| (1..=9).contains(level)).unwrap_or(6))
}

/// Undoes [`Compressors::compress`].
///
/// # Errors
/// When `packed` is not what it returned.
pub fn decompress(encoding: Encoding, packed: &[u8]) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut plain = Vec::new();
    match encoding {
        Encoding::Identity => plain.extend_from_slice(packed),
        Encoding::Zstd => drop(zstd::stream::read::Decoder::with_buffer(packed)?.read_to_end(&mut plain)?),
        Encoding::Gzip => drop(flate2::bufread::MultiGzDecoder::new(packed).read_to_end(&mut plain)?),
        Encoding::Deflate => drop(flate2::bufread::ZlibDecoder::new(packed).read_to_end(&mut plain)?),
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn compression_is_undone_exactly(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5000), 0..5),
            level in 0i32..=9,
        ) {
            let compressors = Compressors::default();
            let plain = parts.concat();
            for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Deflate, Encoding::Zstd] {
                let packed = compressors.compress(encoding, level, parts.iter().map(Vec::as_slice)).unwrap();
                prop_assert_eq!(&decompress(encoding, &packed).unwrap(), &plain);
            }
        }
    }
}
