// Package stories tells whole stories: manifests applied to a real API server, the controllers and the door at work, simulated devices at the door.
package stories

import (
	"testing"

	"github.com/goshawk-dev/goshawk/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }
