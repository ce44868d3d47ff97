//! stub
/// stub
///
/// # Errors
/// stub
pub fn draw(_folder: &std::path::Path) -> Result<(), crate::error::TrainError> {
    Ok(())
}
