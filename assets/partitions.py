"""The partitions: one dynamic definition per domain.

They live beside the assets, because assets and sensors both need them and imports point one way.
Keys are added by the inbox sensors and by the command line, after `sheaf.names` has checked them.
"""

import dagster as dg

FERMENTATION_BATCHES = dg.DynamicPartitionsDefinition(name="fermentation_batch")
MATCHES = dg.DynamicPartitionsDefinition(name="matches_match")
MEDIA_BATCHES = dg.DynamicPartitionsDefinition(name="media_media_batch")
OCCURRENCE_PROJECTS = dg.DynamicPartitionsDefinition(name="occurrences_project")
ANNOTATION_PROJECTS = dg.DynamicPartitionsDefinition(name="annotations_project")
