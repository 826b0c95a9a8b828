package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// Denial is what the kernel denied: who, whose, and the class.
type Denial struct {
	Source, Target, Class string
}

// words are the part of the kernel's record that names it.
func (d Denial) words() string {
	return "scontext=" + d.Source + " tcontext=" + d.Target + " tclass=" + d.Class + " "
}

// record is an AVC record from "avc:" on.
var record = regexp.MustCompile(`avc: +denied .*`)

// Records gives the AVC records of denials in a log, except those that name one
// of the provoked.
func Records(log string, provoked ...Denial) []string {
	var found []string
next:
	for _, r := range record.FindAllString(log, -1) {
		for _, p := range provoked {
			if strings.Contains(r+" ", p.words()) {
				continue next
			}
		}
		found = append(found, r)
	}
	return found
}

// WaitDenial reads the node's log until it has a record of the denial, which it
// returns.
func (n *Node) WaitDenial(ctx context.Context, d Denial) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	defer r.Close()
	go func() { w.CloseWithError(n.Admin.Logs(ctx, w, true)) }()
	for s := bufio.NewScanner(r); s.Scan(); {
		if m := record.FindString(s.Text()); m != "" && strings.Contains(m+" ", d.words()) {
			return m, nil
		}
	}
	return "", fmt.Errorf("no denial in the node's log with %q: %w", d.words(), orCause(ctx.Err(), io.EOF))
}

func orCause(err, other error) error {
	if err != nil {
		return err
	}
	return other
}
