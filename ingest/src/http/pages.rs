//! Memory for one body, which goes back to the system as soon as nobody needs it.
//!
//! An allocator keeps what a large body had, for each thread that has ever had one: after a day of large
//! bodies a service would hold as much as if all its threads read one at once. So large ones have
//! pages of their own; those that nothing is written to take no memory.

use std::io::{self, Read};

use bytes::Bytes;
use memmap2::MmapMut;

/// From this size on: what is smaller, allocators give back by themselves.
const LARGE: usize = 128 * 1_024;

enum Memory {
    Heap(Vec<u8>),
    Map(MmapMut),
}

/// Room for so many bytes, and how many are there.
pub struct Pages {
    memory: Memory,
    len: usize,
}

impl Pages {
    /// Room for `bytes`, and no more.
    pub fn with_room(bytes: usize) -> Self {
        let map = (bytes >= LARGE).then(|| MmapMut::map_anon(bytes));
        let memory = match map {
            Some(Ok(map)) => Memory::Map(map),
            Some(Err(_)) | None => Memory::Heap(vec![0; bytes]),
        };
        Self { memory, len: 0 }
    }

    /// Bytes that are there.
    pub fn len(&self) -> usize {
        self.len
    }

    fn free(&mut self) -> &mut [u8] {
        let room: &mut [u8] = match &mut self.memory {
            Memory::Heap(bytes) => bytes,
            Memory::Map(map) => map,
        };
        room.get_mut(self.len..).unwrap_or_default()
    }

    /// Appends bytes; says whether there was room for all of them, and appends none where not.
    #[must_use]
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        let Some(place) = self.free().get_mut(..bytes.len()) else {
            return false;
        };
        place.copy_from_slice(bytes);
        self.len += bytes.len();
        true
    }

    /// Appends what a reader gives, to its end; says whether there was room for all of it.
    pub fn fill(&mut self, reader: &mut impl Read) -> io::Result<bool> {
        loop {
            let free = self.free();
            if free.is_empty() {
                let mut more = [0];
                return loop {
                    match reader.read(&mut more) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        read => break read.map(|read| read == 0),
                    }
                };
            }
            match reader.read(free) {
                Ok(0) => return Ok(true),
                Ok(read) => self.len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The bytes that are there.
    pub fn finish(self) -> Bytes {
        match self.memory {
            Memory::Heap(mut bytes) => {
                bytes.truncate(self.len);
                bytes.shrink_to_fit();
                Bytes::from(bytes)
            }
            Memory::Map(map) => Bytes::from_owner(map).slice(..self.len),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_beyond_the_room() {
        for room in [0, 3, LARGE - 1, LARGE, LARGE + 4_097] {
            let bytes: Vec<u8> = (0_u8..=250).cycle().take(room).collect();
            let mut pages = Pages::with_room(room);
            let (head, tail) = bytes.split_at(room / 3);
            assert!(pages.push(head) && pages.push(tail));
            assert!(!pages.push(b"x") && pages.push(b""));
            assert_eq!(pages.len(), room);
            assert_eq!(pages.finish(), bytes);

            let mut pages = Pages::with_room(room);
            assert!(pages.fill(&mut bytes.as_slice()).is_ok_and(|fits| fits));
            assert_eq!(pages.finish(), bytes);
            let mut pages = Pages::with_room(room);
            let longer = [bytes.as_slice(), b"x"].concat();
            assert!(pages.fill(&mut longer.as_slice()).is_ok_and(|fits| !fits));
        }
    }

    #[test]
    fn a_part_of_the_room_is_enough() {
        for room in [10, 2 * LARGE] {
            let mut pages = Pages::with_room(room);
            assert!(pages.push(b"short"));
            assert_eq!(pages.finish(), b"short".as_slice());
        }
    }
}
