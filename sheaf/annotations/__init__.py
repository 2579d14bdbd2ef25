"""Image annotations: projects to classification, detection and segmentation datasets."""
