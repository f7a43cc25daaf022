"""Pictures, maps and pages made from results folders. Imports `runs` and below; nothing imports it."""
