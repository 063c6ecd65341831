module everloop/devcluster/pause

go 1.26.0
