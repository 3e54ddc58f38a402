"""The console at `/`: a page that shows the models, tries them, and draws what they do, from files of this package alone."""
