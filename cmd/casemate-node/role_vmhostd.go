package main

import (
	"context"

	"casemate/vmhost"
)

func init() {
	roles["vmhostd"] = func() error { return vmhost.Serve(context.Background()) }
}
