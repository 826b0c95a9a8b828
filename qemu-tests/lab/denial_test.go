package lab

import "testing"

// The check for unprovoked denials is only as good as what it finds.
func TestRecords(t *testing.T) {
	log := "x\n" + `audit: type=1400 audit(1.1:4): avc:  denied  { read } for  pid=1 comm="x" scontext=a:b:c:s0:c1,c2 tcontext=d:e:f:s0:c1,c20 tclass=file permissive=0` + "\ny"
	for _, c := range []struct {
		provoked []Denial
		want     int
	}{
		{nil, 1},
		{[]Denial{{"a:b:c:s0:c1,c2", "d:e:f:s0:c1,c20", "file"}}, 0},
		{[]Denial{{"a:b:c:s0:c1,c2", "d:e:f:s0:c1,c2", "file"}}, 1}, // a prefix of the label
		{[]Denial{{"a:b:c:s0:c1,c2", "d:e:f:s0:c1,c20", "dir"}}, 1},
	} {
		if got := Records(log, c.provoked...); len(got) != c.want {
			t.Errorf("Records(%q, %v) = %q; want %d", log, c.provoked, got, c.want)
		}
	}
}
