"""What of a media file is looked at and listened to: moments, frames and samples of one file that may be anybody's,
and what it lacks. No model, no folder of files."""
