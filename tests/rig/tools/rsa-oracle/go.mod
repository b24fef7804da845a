module rsa-oracle

go 1.26
