package api

import (
	"maps"
	"slices"
	"time"
)

// SetBodyTimeout shortens the time for a body; the result restores it.
func SetBodyTimeout(d time.Duration) func() {
	old := bodyTimeout
	bodyTimeout = d
	return func() { bodyTimeout = old }
}

// Operations are the ids of roleOf.
func Operations() []string { return slices.Sorted(maps.Keys(roleOf)) }
