//! The named tensors of a safetensors file: in memory, or on disk and read one at a time, so that
//! the file's bytes do not lie in memory beside the tensors made from them.

use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, SafeTensors};

use crate::error::{Error, Result};
use crate::files::PathContext;

/// A source of tensors by name.
pub trait TensorSource {
    /// Lists all names, in any order.
    fn names(&self) -> Vec<String>;

    /// Returns type and shape of a tensor, or `None` if no tensor has that name.
    fn dtype_and_shape(&self, name: &str) -> Option<(Dtype, Vec<i64>)>;

    /// Copies a tensor's elements, little-endian. `elements` must have exactly their number of
    /// bytes.
    fn read_into(&self, name: &str, elements: &mut [u8]) -> Result<()>;
}

/// Converts a shape to libtorch's integers.
pub(super) fn to_i64_shape(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&side| side as i64).collect()
}

fn size_mismatch_error(name: &str) -> Error {
    Error::internal(format!("tensor {name} is not there in this size"))
}

/// Reads the header in the bytes of a safetensors file.
pub fn parse_safetensors(bytes: &[u8]) -> Result<SafeTensors<'_>> {
    SafeTensors::deserialize(bytes).map_err(invalid_safetensors_error)
}

impl TensorSource for SafeTensors<'_> {
    fn names(&self) -> Vec<String> {
        SafeTensors::names(self).into_iter().map(str::to_owned).collect()
    }

    fn dtype_and_shape(&self, name: &str) -> Option<(Dtype, Vec<i64>)> {
        let view = self.tensor(name).ok()?;
        Some((view.dtype(), to_i64_shape(view.shape())))
    }

    fn read_into(&self, name: &str, elements: &mut [u8]) -> Result<()> {
        match self.tensor(name) {
            Ok(view) if view.data().len() == elements.len() => {
                elements.copy_from_slice(view.data());
                Ok(())
            }
            _ => Err(size_mismatch_error(name)),
        }
    }
}

/// A safetensors file on disk, with only its header in memory.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    /// Offset of the elements in the file, in bytes.
    data_start: u64,
}

/// Largest size of the header that the format allows, in bytes.
const MAX_HEADER_BYTES: u64 = 100_000_000;

impl TensorFile {
    /// Reads the header, and checks it against the file's length.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).with_path("read", path)?;
        let (metadata, data_start) = read_header(&mut file, path)?;
        Ok(Self { path: path.to_owned(), file, metadata, data_start })
    }
}

/// Reads the header of a file, and returns it with the offset of the elements in bytes.
fn read_header(file: &mut File, path: &Path) -> Result<(Metadata, u64)> {
    let length = file.metadata().with_path("read", path)?.len();
    if length < 8 {
        return Err(damaged_file_error(path, format!("it has {length} bytes")));
    }
    let mut header_size = [0; 8];
    file.read_exact(&mut header_size).with_path("read", path)?;
    let header_size = u64::from_le_bytes(header_size);
    let data_start = header_size.saturating_add(8);
    if data_start > length || header_size > MAX_HEADER_BYTES {
        let problem =
            format!("its header is said to have {header_size} bytes, the file has {length}");
        return Err(damaged_file_error(path, problem));
    }
    let mut header = vec![0; header_size as usize];
    file.read_exact(&mut header).with_path("read", path)?;
    let metadata: Metadata = match serde_json::from_slice(&header) {
        Ok(metadata) => metadata,
        Err(cause) => return Err(damaged_file_error(path, cause)),
    };
    let data_end = data_start.saturating_add(metadata.data_len() as u64);
    if data_end != length {
        let problem = format!("its tensors end at byte {data_end}, the file at {length}");
        return Err(damaged_file_error(path, problem));
    }
    Ok((metadata, data_start))
}

fn damaged_file_error(path: &Path, cause: impl Display) -> Error {
    invalid_safetensors_error(cause).with_context(path.display())
}

impl TensorSource for TensorFile {
    fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    fn dtype_and_shape(&self, name: &str) -> Option<(Dtype, Vec<i64>)> {
        let info = self.metadata.info(name)?;
        Some((info.dtype, to_i64_shape(&info.shape)))
    }

    fn read_into(&self, name: &str, elements: &mut [u8]) -> Result<()> {
        let Some(info) = self.metadata.info(name) else { return Err(size_mismatch_error(name)) };
        let (begin, end) = info.data_offsets;
        if end - begin != elements.len() {
            return Err(size_mismatch_error(name));
        }
        self.file
            .read_exact_at(elements, self.data_start + begin as u64)
            .with_path("read", &self.path)
    }
}

fn invalid_safetensors_error(cause: impl Display) -> Error {
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

    fn write_temp_file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn a_file_holds_on_the_disk_what_it_holds_in_memory() {
        let bytes = bytes();
        let file = write_temp_file(&bytes);
        let (on_disk, in_memory) =
            (TensorFile::open(file.path()).unwrap(), parse_safetensors(&bytes).unwrap());
        let in_memory: &dyn TensorSource = &in_memory;
        let mut names = on_disk.names();
        names.sort();
        assert_eq!(names, ["a", "b", "c"]);
        for (name, length) in [("c", 1), ("b", 4), ("a", 0)] {
            assert_eq!(on_disk.dtype_and_shape(name), in_memory.dtype_and_shape(name), "{name}");
            let (mut a, mut b) = (vec![9; length], vec![8; length]);
            on_disk.read_into(name, &mut a).unwrap();
            in_memory.read_into(name, &mut b).unwrap();
            assert!(a == b, "{name}");
            let mut wrong = vec![0; length + 1];
            assert!(
                on_disk.read_into(name, &mut wrong).is_err()
                    && in_memory.read_into(name, &mut wrong).is_err()
            );
        }
        assert!(on_disk.dtype_and_shape("d").is_none() && on_disk.read_into("d", &mut []).is_err());
    }

    #[test]
    fn a_file_that_was_cut_or_grew_names_itself() {
        let bytes = bytes();
        for length in 0..bytes.len() {
            let file = write_temp_file(&bytes[..length]);
            let said = TensorFile::open(file.path()).unwrap_err().to_string();
            let path = file.path().display();
            assert!(said.contains(&format!("{path}: not a whole safetensors file: ")), "{said}");
        }
        let file = write_temp_file(&[&bytes[..], &[0]].concat());
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
            let file = write_temp_file(&bytes);
            let on_disk = TensorFile::open(file.path());
            proptest::prop_assert_eq!(on_disk.is_ok(), parse_safetensors(&bytes).is_ok());
        }
    }
}
