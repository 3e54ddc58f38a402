"""The console at `/`: a page that shows the models, tries them and draws their charts.

Its files are those of this package alone.
"""
