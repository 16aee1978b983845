//! The named tensors of a safetensors file: in memory, or on the disk and read one at a time, so that the file's bytes do not
//! lie in memory beside the tensors made of them.

use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, SafeTensors};

use crate::error::{Error, Result};

/// Where tensors are found by name.
pub trait Tensors {
    /// All names, in any order.
    fn names(&self) -> Vec<String>;

    /// The type and the shape of a tensor, or none of that name.
    fn describe(&self, name: &str) -> Option<(Dtype, Vec<i64>)>;

    /// Copies a tensor's elements, which are as many bytes as `elements` has.
    fn read(&self, name: &str, elements: &mut [u8]) -> Result<()>;
}

fn sides(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&side| side as i64).collect()
}

fn unlike(name: &str) -> Error {
    Error::internal(format!("tensor {name} is not there in this size"))
}

/// The tensors in the bytes of a safetensors file.
pub fn open(bytes: &[u8]) -> Result<SafeTensors<'_>> {
    SafeTensors::deserialize(bytes).map_err(|cause| not_whole(&cause))
}

impl Tensors for SafeTensors<'_> {
    fn names(&self) -> Vec<String> {
        SafeTensors::names(self).into_iter().map(str::to_owned).collect()
    }

    fn describe(&self, name: &str) -> Option<(Dtype, Vec<i64>)> {
        let view = self.tensor(name).ok()?;
        Some((view.dtype(), sides(view.shape())))
    }

    fn read(&self, name: &str, elements: &mut [u8]) -> Result<()> {
        let view = self.tensor(name).ok();
        let data = view.map(|view| view.data()).filter(|data| data.len() == elements.len());
        elements.copy_from_slice(data.ok_or_else(|| unlike(name))?);
        Ok(())
    }
}

/// A safetensors file on the disk, of which only the header is in memory.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    /// Where the elements begin.
    start: u64,
}

/// The format's limit of the header, in bytes.
const MAX_HEADER: u64 = 100_000_000;

impl TensorFile {
    /// Reads the header, and holds it against the file's length.
    pub fn open(path: &Path) -> Result<Self> {
        let unreadable = |cause| Error::io("read", path, &cause);
        let not_whole = |cause: &dyn Display| not_whole(cause).within(path.display());
        let mut file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let mut size = [0; 8];
        if length < 8 {
            return Err(not_whole(&format!("it has {length} bytes")));
        }
        file.read_exact(&mut size).map_err(unreadable)?;
        let size = u64::from_le_bytes(size);
        let start = size.saturating_add(8);
        if start > length || size > MAX_HEADER {
            let said = format!("its header is said to have {size} bytes, the file has {length}");
            return Err(not_whole(&said));
        }
        let mut header = vec![0; size as usize];
        file.read_exact(&mut header).map_err(unreadable)?;
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|cause| not_whole(&cause))?;
        let end = start.saturating_add(metadata.data_len() as u64);
        if end != length {
            let said = format!("its tensors end at byte {end}, the file at {length}");
            return Err(not_whole(&said));
        }
        Ok(Self { path: path.to_owned(), file, metadata, start })
    }
}

impl Tensors for TensorFile {
    fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    fn describe(&self, name: &str) -> Option<(Dtype, Vec<i64>)> {
        let info = self.metadata.info(name)?;
        Some((info.dtype, sides(&info.shape)))
    }

    fn read(&self, name: &str, elements: &mut [u8]) -> Result<()> {
        let place = self.metadata.info(name).map(|info| info.data_offsets);
        let place = place.filter(|(begin, end)| end - begin == elements.len());
        let (begin, _) = place.ok_or_else(|| unlike(name))?;
        self.file
            .read_exact_at(elements, self.start + begin as u64)
            .map_err(|cause| Error::io("read", &self.path, &cause))
    }
}

fn not_whole(cause: &dyn Display) -> Error {
    Error::input(format!("not a whole safetensors file: {cause}"))
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    fn bytes() -> Vec<u8> {
        let view =
            |shape: &[usize], data| TensorView::new(Dtype::U8, shape.to_vec(), data).unwrap();
        let tensors =
            [("b", view(&[2, 2], &[1, 2, 3, 4])), ("a", view(&[0], &[])), ("c", view(&[1], &[5]))];
        safetensors::serialize(tensors, None).unwrap()
    }

    fn written(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn a_file_holds_on_the_disk_what_it_holds_in_memory() {
        let bytes = bytes();
        let file = written(&bytes);
        let (there, here) = (TensorFile::open(file.path()).unwrap(), open(&bytes).unwrap());
        let here: &dyn Tensors = &here;
        let mut names = there.names();
        names.sort();
        assert_eq!(names, ["a", "b", "c"]);
        for (name, length) in [("c", 1), ("b", 4), ("a", 0)] {
            assert_eq!(there.describe(name), here.describe(name), "{name}");
            let (mut a, mut b) = (vec![9; length], vec![8; length]);
            there.read(name, &mut a).unwrap();
            here.read(name, &mut b).unwrap();
            assert!(a == b, "{name}");
            let mut wrong = vec![0; length + 1];
            assert!(there.read(name, &mut wrong).is_err() && here.read(name, &mut wrong).is_err());
        }
        assert!(there.describe("d").is_none() && there.read("d", &mut []).is_err());
    }

    #[test]
    fn a_file_that_was_cut_or_grew_names_itself() {
        let bytes = bytes();
        for length in 0..bytes.len() {
            let file = written(&bytes[..length]);
            let said = TensorFile::open(file.path()).unwrap_err().to_string();
            let path = file.path().display();
            assert!(said.contains(&format!("{path}: not a whole safetensors file: ")), "{said}");
        }
        let file = written(&[&bytes[..], &[0]].concat());
        let said = TensorFile::open(file.path()).unwrap_err().to_string();
        assert!(said.contains("its tensors end at byte"), "{said}");
        let missing = TensorFile::open(Path::new("/nowhere/model.safetensors")).unwrap_err();
        assert!(missing.to_string().contains("cannot read /nowhere/model.safetensors"));
    }

    proptest::proptest! {
        #[test]
        fn on_the_disk_is_read_what_is_read_in_memory(
            header in "[{}\":,\\[\\]a0-9U_]{0,60}|\\{\"a\":\\{\"dtype\":\"U8\",\"shape\":\\[[0-9]{1,2}\\],\"data_offsets\":\\[0,[0-9]{1,2}\\]\\}\\}",
            data in proptest::collection::vec(proptest::num::u8::ANY, 0..40),
        ) {
            let size = (header.len() as u64).to_le_bytes();
            let bytes = [&size[..], header.as_bytes(), &data].concat();
            let file = written(&bytes);
            let there = TensorFile::open(file.path());
            proptest::prop_assert_eq!(there.is_ok(), open(&bytes).is_ok());
        }
    }
}
