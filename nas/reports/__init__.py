"""What people see: lines, tables, drawings, the dashboard."""
