// Empty on purpose: the manifests beside this file only name crates to fetch.
