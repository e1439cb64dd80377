module libsse.test/cgo

go 1.19
